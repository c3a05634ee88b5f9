"""Models to and from a model hub: the same files as in a model's folder, fetched and sent by huggingface_hub."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smdt.errors import ModelError
from smdt.retrieval.encoder import Encoder
from smdt.retrieval.models import CONFIG_FILE, WEIGHTS_FILE, load_folder, save_model


def from_pretrained(name: str | Path, *, revision: str | None = None) -> Encoder:
    """A model from a folder or from the hub, in evaluation mode and on the CPU.

    Only a config and safetensors are read, so a model runs no code of its own.

    Args:
        name: a folder, which needs no network, or ``OWNER/NAME`` on the hub.
        revision: branch, tag or commit on the hub.

    Raises:
        ModelError: if it cannot be fetched, or what is there is no model of this software.
    """
    if Path(name).is_dir():
        return load_folder(Path(name)).eval()
    import huggingface_hub

    try:
        files = [
            Path(huggingface_hub.hf_hub_download(str(name), file, revision=revision))
            for file in (CONFIG_FILE, WEIGHTS_FILE)
        ]
    except Exception as error:  # the hub's client raises its own errors, its network's and the system's
        raise _hub_error(error, str(name), "cannot be fetched") from error
    return load_folder(files[0].parent).eval()


def push_to_hub(
    model: Encoder,
    name: str,
    record: Mapping[str, Any],
    *,
    private: bool = True,
    revision: str | None = None,
    token: str | None = None,
) -> str:
    """Send a model to the hub, with its config, training record and model card.

    Args:
        model: what to send.
        name: ``OWNER/NAME``; made where it is missing.
        record: what made it, see :func:`smdt.retrieval.models.save_model`.
        private: whether a repository made here is private.
        revision: branch to send to.
        token: of the hub; the one the hub's client has stored unless given.

    Returns:
        The commit's address.

    Raises:
        ModelError: if the hub refuses, or cannot be reached.
    """
    import huggingface_hub

    with tempfile.TemporaryDirectory(prefix="smdt-hub-") as folder:
        save_model(model, Path(folder), record)
        try:
            api = huggingface_hub.HfApi(token=token)
            api.create_repo(name, private=private, exist_ok=True)
            commit = api.upload_folder(
                repo_id=name,
                folder_path=folder,
                revision=revision,
                commit_message=f"Model {model.config.name}",
            )
        except Exception as error:  # as above
            raise _hub_error(error, name, "cannot be sent") from error
    return str(commit)


def _hub_error(error: Exception, name: str, what: str) -> ModelError:
    reason = str(error).strip().splitlines()
    told = f"{type(error).__name__}: {reason[0]}" if reason else type(error).__name__
    return ModelError(
        f"{what} ({told})",
        where=name,
        remedy="check the name, the network and the hub's token, or give a model's folder",
    )
