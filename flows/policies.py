"""Which weights a policy has: the identity of a model folder, of a Hub commit, or of a round's training."""

from functools import lru_cache
from pathlib import Path

import xxhash

from flows.tables import file_checksum

_IDENTITY_FILES = ("*.safetensors", "*.bin", "*.json", "*.txt", "*.model", "*.jinja", "*.py")
_NOT_IDENTITY = {"manifest.json", "plan.json"}


def identify_model(model: str, revision: str | None) -> str:
    """Give the identity of a model: a hash of its files, or the Hub's commit.

    Raises:
        FileNotFoundError: There is neither such a folder nor such a model on the Hub or in its local cache.
    """
    folder = Path(model)
    if folder.is_dir():
        if not (folder / "config.json").exists():
            raise FileNotFoundError(
                f"{model}: no config.json in this folder; a model folder has weights, config, tokenizer"
            )
        return _folder_identity(folder)
    if folder.is_absolute() or model.startswith("."):
        raise FileNotFoundError(f"{model}: no such model folder")
    return _hub_commit(model, revision)


def _folder_identity(folder: Path) -> str:
    names = {path for pattern in _IDENTITY_FILES for path in folder.glob(pattern) if path.name not in _NOT_IDENTITY}
    stats = tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(names))
    return _hash_files(folder, stats)


@lru_cache(maxsize=64)
def _hash_files(folder: Path, stats: tuple[tuple[str, int, int], ...]) -> str:
    """Hash the files; the sizes and times are there so that a changed folder is hashed again."""
    digest = xxhash.xxh3_128()
    for name, _, _ in stats:
        digest.update(f"{name} {file_checksum(folder / name)}\n".encode())
    return digest.hexdigest()[:20]


@lru_cache(maxsize=64)
def _hub_commit(model: str, revision: str | None) -> str:
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        return str(HfApi().model_info(model, revision=revision).sha)
    except (HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, OSError) as error:
        cached = try_to_load_from_cache(model, "config.json", revision=revision) if model.count("/") == 1 else None
        if isinstance(cached, str):  # .../snapshots/<commit>/config.json
            return Path(cached).parent.name
        raise FileNotFoundError(
            f"{model}: neither a folder here, nor on the Hugging Face Hub as far as it can be reached, "
            f"nor in its local cache ({type(error).__name__})"
        ) from error
