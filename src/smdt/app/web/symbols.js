/* The signs on the report's map: a filled circle with a wedge for an answer, a hollow diamond with an arrow for the
   truth, a square for another candidate. What goes into markup here is a number; names go in as text. */
const symbols = (() => {
  "use strict";
  const DEFAULT_WEDGE_DEG = 56;

  function wedgePath(widthDeg, radius) {
    const half = (widthDeg / 2) * (Math.PI / 180);
    const x = (radius * Math.sin(half)).toFixed(2);
    const y = (-radius * Math.cos(half)).toFixed(2);
    return `M0 0L-${x} ${y}A${radius} ${radius} 0 0 1 ${x} ${y}Z`;
  }

  function answerIcon(photo, isChosen) {
    const fov = photo.field_of_view_deg;
    const width = fov && fov < 170 ? fov : DEFAULT_WEDGE_DEG;
    const radius = isChosen ? 58 : 32;
    const size = isChosen ? 28 : 22;
    const heading = photo.candidates[0].heading_deg.toFixed(1);
    return L.divIcon({
      className: `pin pin-answer${isChosen ? " pin-chosen" : ""}`,
      iconSize: [size, size],
      html: `<svg class="pin-art" viewBox="-70 -70 140 140"><g transform="rotate(${heading})"><path class="wedge" d="${wedgePath(width, radius)}"/></g>` +
        `<circle class="answer-dot" r="${size / 2 - 1}"/><text class="pin-number" y="4" text-anchor="middle">${Number(photo.number)}</text></svg>`,
    });
  }

  function truthIcon(photo, isChosen) {
    const s = isChosen ? 21 : 16; // half the diagonal: the diamond stays visible around a pin on the same spot
    const heading = photo.truth.heading_deg;
    const diamond = `M0-${s} ${s} 0 0 ${s}-${s} 0Z`;
    const arrow = heading === null ? "" : `M0-${s}V-${s + (isChosen ? 42 : 14)}M-5-${s + (isChosen ? 35 : 8)}L0-${s + (isChosen ? 43 : 15)} 5-${s + (isChosen ? 35 : 8)}`;
    const turned = heading === null ? "" : `<g transform="rotate(${heading.toFixed(1)})"><path class="truth-casing" d="${arrow}"/><path class="truth-line" d="${arrow}"/></g>`;
    return L.divIcon({
      className: `pin pin-truth${isChosen ? " pin-chosen" : ""}`,
      iconSize: [2 * s, 2 * s],
      html: `<svg class="pin-art" viewBox="-70 -70 140 140">${turned}<path class="truth-casing" d="${diamond}"/><path class="truth-line" d="${diamond}"/><circle class="truth-centre" r="2.5"/></svg>`,
    });
  }

  function described(parts) {
    const box = document.createElement("div");
    for (const [kind, text] of parts) {
      const line = document.createElement("div");
      line.className = kind;
      line.textContent = text;
      box.append(line);
    }
    return box;
  }

  function labelIcon(text) {
    const span = document.createElement("span");
    span.textContent = text;
    return L.divIcon({ className: "line-label", iconSize: [0, 0], html: span });
  }

  function candidateIcon(place) {
    return L.divIcon({ className: "pin pin-candidate", iconSize: [22, 22], html: `<span>${Number(place.rank)}</span>` });
  }

  return { answerIcon, truthIcon, candidateIcon, labelIcon, described };
})();
