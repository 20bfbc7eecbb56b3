"""What models and prompt sources are, by content: hashes of files and commits of the Hub, never a mere name."""

from functools import lru_cache
from pathlib import Path

import xxhash

from flows.tables import file_checksum
from generation.config import MixConfig, OpenAIConfig, PolicyConfig, PromptsConfig
from generation.engine import PolicyFiles
from generation.sources import source_files

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
    import httpx2  # of huggingface_hub
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        return str(HfApi().model_info(model, revision=revision).sha)
    except (HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, httpx2.TransportError, OSError) as error:
        cached = try_to_load_from_cache(model, "config.json", revision=revision) if model.count("/") == 1 else None
        if isinstance(cached, str):  # .../snapshots/<commit>/config.json
            return Path(cached).parent.name
        raise FileNotFoundError(
            f"{model}: neither a folder here, nor on the Hugging Face Hub as far as it can be reached, "
            f"nor in its local cache ({type(error).__name__})"
        ) from error


def policy_from(config: PolicyConfig) -> PolicyFiles:
    """Identify a policy that a recipe names; one from the Hub is pinned to the commit that is found now."""
    key = identify_model(config.model, config.revision)
    revision = None if Path(config.model).is_dir() else key
    key += identify_adapter(config.adapter) if config.adapter else ""
    return PolicyFiles(config.model, key, config.adapter, revision, config.trust_remote_code)


def identify_adapter(adapter: str) -> str:
    """Give the identity of a LoRA folder, to be put behind that of its model."""
    paths = [Path(adapter) / name for name in ("adapter_model.safetensors", "adapter_config.json")]
    if not all(path.exists() for path in paths):
        raise FileNotFoundError(f"adapter {adapter}: no adapter_model.safetensors and adapter_config.json there")
    return "".join(f"-{file_checksum(path)[:8]}" for path in paths)


def mixed_policy(config: MixConfig, roles: dict[str, PolicyFiles]) -> PolicyFiles:
    """Identify a policy of the mix; a running server's model goes by its name there.

    Args:
        config: The recipe's part.
        roles: The run's own policies by their role.
    """
    if config.role is not None:
        return roles[config.role]
    if config.policy is not None:
        return policy_from(config.policy)
    if not isinstance(config.engine, OpenAIConfig) or config.engine.model is None:
        raise TypeError("a mix without a policy and a role names a running server")  # the config has seen to that
    return PolicyFiles(config.engine.model, f"{config.engine.model} at {config.engine.base_url}")


def source_identity(config: PromptsConfig) -> list[list[str]]:
    """Give name and checksum of each file of prompts, or name and commit of a Hub data set."""
    if config.path is None:
        from huggingface_hub import HfApi

        info = HfApi().dataset_info(str(config.dataset), revision=config.dataset_revision)
        return [[str(config.dataset), str(info.sha)]]
    path = _existing(config.path, "prompts.path")
    files = source_files(path)
    return [[str(file.relative_to(path)) if path.is_dir() else file.name, file_checksum(file)] for file in files]


def _existing(path: Path, field: str) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"{field}: {path} does not exist")
    return path
