"""Matching descriptors that are strips in azimuth order.

A *strip* is (C, W): C features for each of W azimuths. A reference strip's column k looks along azimuth 180°
+ 360°·k/W; a query strip's column j along heading + 180° + 360°·j/W. With the heading known (0, or the query
turned to it), two strips compare by cosine. With it unknown, the query is tried at every turn by circular
correlation (FFT over azimuth): the best turn s gives the score and the heading 360°·s/W. A query that sees
only a part of the circle carries a mask, and each reference is then normalised over the part compared.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

_SMALL = 1e-6
_FINER, _NEAR_DEG = 8, 20.0


def normalise_queries(strips: Tensor, mask: Tensor | None = None) -> Tensor:
    """Query strips (Q, C, W) of unit norm over what they see; columns not seen, mask (Q, W) False, become zero."""
    if mask is not None:
        strips = strips * mask[:, None].to(strips.dtype)
    norm: Tensor = strips.flatten(1).norm(dim=1).clamp_min(_SMALL)
    return strips / norm[:, None, None]


def normalise_references(strips: Tensor) -> Tensor:
    """Reference strips (R, C, W) of unit norm."""
    norm: Tensor = strips.flatten(1).norm(dim=1).clamp_min(_SMALL)
    return strips / norm[:, None, None]


def _wrapped(heading_deg: Tensor) -> Tensor:
    """Angles in [0, 360); a remainder alone rounds what is a little below 0 to 360."""
    angle = torch.remainder(heading_deg, 360.0)
    return angle.masked_fill(angle >= 360.0, 0.0)


def _off(heading_deg: Tensor, around_deg: Tensor) -> Tensor:
    """How far clockwise headings are from others, the short way round, in [-180, 180) degrees."""
    return torch.remainder(heading_deg - around_deg + 180.0, 360.0) - 180.0


def _spectrum(signal: Tensor) -> Tensor:
    spectrum: Tensor = torch.fft.rfft(signal.float(), dim=-1)
    return spectrum


def aligned_scores(queries: Tensor, references: Tensor, mask: Tensor | None = None) -> Tensor:
    """Cosine of strips whose heading is known.

    Args:
        queries: (Q, C, W) from :func:`normalise_queries`, turned so that their centre looks north.
        references: (R, C, W).
        mask: (Q, W), True where a query sees; all of it unless given.

    Returns:
        (Q, R) in -1..1.
    """
    scores = queries.flatten(1).float() @ references.flatten(1).float().T
    energy = references.float().square().sum(1)  # (R, W)
    seen = energy.sum(1)[None] if mask is None else mask.to(energy.dtype) @ energy.T
    return scores / seen.sqrt().clamp_min(_SMALL)


def circular_scores(queries: Tensor, references: Tensor, mask: Tensor | None = None) -> Tensor:
    """Cosine of every query with every reference at every turn.

    Args:
        queries: (Q, C, W) from :func:`normalise_queries`.
        references: (R, C, W).
        mask: (Q, W), True where a query sees; all of it unless given.

    Returns:
        (Q, R, W); element s is the score if the query's heading is 360°·s/W.
    """
    width = queries.shape[-1]
    spectrum = torch.einsum("qcf,rcf->qrf", _spectrum(queries).conj(), _spectrum(references))
    scores = torch.fft.irfft(spectrum, n=width)
    energy = references.float().square().sum(1)  # (R, W)
    turned: Tensor
    if mask is None:
        turned = scores / energy.sum(1).sqrt().clamp_min(_SMALL)[None, :, None]
    else:
        seen = _spectrum(mask.float()).conj()[:, None] * _spectrum(energy)[None]
        turned = scores / torch.fft.irfft(seen, n=width).clamp_min(_SMALL**2).sqrt()
    return turned


def between_columns(scores: Tensor) -> Tensor:
    """Scores at every half column of turns, of those at every column: what lies between is a circle's interpolation.

    A camera looks between columns as often as at one. Where all its scores are lower for that, a wrong place whose best
    turn happens to be a whole column comes first.

    Args:
        scores: (..., W) of :func:`circular_scores`.

    Returns:
        (..., 2W), element s of a heading of 360°·s/(2W); with one column, which no turn changes, the scores themselves.
    """
    width = scores.shape[-1]
    if width == 1:
        return scores
    between = scores @ half_column(width).to(scores).T
    return torch.stack([scores, between], dim=-1).flatten(-2)


@lru_cache
@torch.inference_mode(False)  # kept for all who ask later, with gradients or without
def half_column(width: int) -> Tensor:
    """What :func:`between_columns` puts behind each column, (W, W) float32: its row of weights of the columns."""
    spectrum = torch.fft.rfft(torch.eye(width, dtype=torch.float64), dim=0)
    phase = torch.exp(1j * torch.pi * torch.arange(len(spectrum)) / width)
    between: Tensor = torch.fft.irfft(spectrum * phase[:, None], n=width, dim=0)
    return between.float()


def best_turn(scores: Tensor, allowed: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The best score over turns and its heading, refined between columns by a parabola through the peak.

    Args:
        scores: (..., W) of :func:`circular_scores`.
        allowed: bool, to be spread over scores: the turns to choose from, one at least; all unless given.

    Returns:
        Score (...) at the best column and heading (...) in [0, 360) degrees; NaN where a strip has one column only, for
        then it has no turn to be found by.
    """
    width = scores.shape[-1]
    open_scores = scores if allowed is None else scores.masked_fill(~allowed, -torch.inf)
    peak, column = open_scores.max(dim=-1)
    if width == 1:
        return peak, torch.full_like(peak, torch.nan)
    left = scores.gather(-1, ((column - 1) % width)[..., None])[..., 0]
    right = scores.gather(-1, ((column + 1) % width)[..., None])[..., 0]
    bend = (left - 2 * peak + right).clamp_max(-_SMALL)
    offset = (0.5 * (left - right) / bend).clamp(-0.5, 0.5)
    return peak, _wrapped((column + offset) * (360.0 / width))


def turns_within(heading_deg: Tensor, within_deg: float, width: int) -> Tensor:
    """The turns (Q, W), bool, that lie within some degrees of headings (Q,), give or take half a column."""
    turn = torch.arange(width, device=heading_deg.device) * (360.0 / width)
    return _off(turn[None], heading_deg[:, None]).abs() <= within_deg + 180.0 / width


def held_within(heading_deg: Tensor, around_deg: Tensor, within_deg: float) -> Tensor:
    """Headings, in [0, 360), none further than some degrees from those they should be around."""
    return _wrapped(around_deg + _off(heading_deg, around_deg).clamp(-within_deg, within_deg))


def mean_turn(scores: Tensor, sharpness: float) -> Tensor:
    """The heading on which all strips of one place agree: the mean of turns near the best one, over all the strips.

    A turn counts by exp(sharpness·score), so a strip that fits badly counts for little. A camera beside the point about
    which a tile was unrolled sees what is near moved sideways, and fits best at another turn than its heading; points
    to either side of it err to either side.

    Args:
        scores: (P, ..., W) of :func:`circular_scores` with P strips of each place, one for each point it was seen from.
        sharpness: softmax temperature's inverse.

    Returns:
        Headings (...) in [0, 360) degrees; NaN where a strip has one column only.
    """
    width = scores.shape[-1]
    if width == 1:
        return torch.full_like(scores[0, ..., 0], torch.nan)
    spectrum = _spectrum(scores)
    if width % 2 == 0:  # the highest frequency stands for both of its signs, and on more columns for one
        spectrum = torch.cat([spectrum[..., :-1], spectrum[..., -1:] / 2], dim=-1)
    fine = torch.fft.irfft(spectrum, n=width * _FINER) * _FINER
    belief = torch.logsumexp(sharpness * fine, dim=0)
    column = torch.arange(width * _FINER, device=scores.device) * (360.0 / (width * _FINER))
    best = column[belief.argmax(dim=-1)]
    off = _off(column, best[..., None])
    near = torch.softmax(belief.masked_fill(off.abs() > _NEAR_DEG, -torch.inf), dim=-1)
    return _wrapped(best + (near * off).sum(-1))


def turn_strips(strips: Tensor, heading_deg: Tensor) -> Tensor:
    """Turn query strips (Q, C, W) of known headings (Q,) so that their centre looks north, between columns exactly.

    The turn is a phase of the spectrum, so a fraction of a column loses nothing but the highest frequency.
    """
    width = strips.shape[-1]
    shift = heading_deg.to(strips.device, torch.float32) / 360.0 * width
    frequency = torch.arange(width // 2 + 1, device=strips.device, dtype=torch.float32)
    phase = torch.exp(-2j * torch.pi * frequency[None] * shift[:, None] / width)
    turned: Tensor = torch.fft.irfft(_spectrum(strips) * phase[:, None], n=width)
    return turned


def turn_mask(mask: Tensor, heading_deg: Tensor) -> Tensor:
    """What queries see (Q, W) of known headings (Q,), turned as :func:`turn_strips` turns their strips.

    Returns:
        (Q, W) float32, the share of each column that a query sees: where it is turned by a part of a column, its edges
        lie within one.
    """
    width = mask.shape[-1]
    shift = heading_deg.to(mask.device, torch.float32) / 360.0 * width
    whole = shift.floor()
    part = (shift - whole)[:, None]
    column = (torch.arange(width, device=mask.device) - whole.long()[:, None]) % width
    seen = mask.float()
    turned: Tensor = (1 - part) * seen.gather(1, column) + part * seen.gather(1, (column - 1) % width)
    return turned
