"""A judge's engine config in, the way to its language model out."""

from judging.asking.chat import ChatModel
from judging.asking.server_model import ChatClient, ServerModel
from judging.engine_config import EngineConfig, ServerConfig


def open_chat_model(config: EngineConfig, client: ChatClient | None) -> ChatModel:
    """Build the model that a judge asks; entering it as a context loads it or connects.

    Args:
        config: How the model is reached.
        client: Talks to the server at the config's address; the offline engine needs none.
    """
    if isinstance(config, ServerConfig):
        if client is None:
            raise ValueError("a judge behind a server needs a client for it")
        return ServerModel(config, client)
    from judging.asking.vllm_model import VllmModel

    return VllmModel(config)
