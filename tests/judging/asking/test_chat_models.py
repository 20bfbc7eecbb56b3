import subprocess
import sys

import pytest

from generation.chat_client import ChatClient
from judging.asking.chat_models import open_chat_model
from judging.asking.server_model import ServerModel
from judging.engine_config import ServerConfig

CONFIG = ServerConfig(name="openai", base_url="http://127.0.0.1:1/v1", model="judge")


def test_server_is_reached_through_the_client_that_is_handed_in():
    assert isinstance(open_chat_model(CONFIG, ChatClient.from_config(CONFIG)), ServerModel)


def test_server_without_a_client_is_an_error():
    with pytest.raises(ValueError, match="needs a client"):
        open_chat_model(CONFIG, None)


def test_import_of_a_servers_model_loads_no_heavy_library():
    code = "import sys, judging.asking.chat_models; print({'torch', 'vllm', 'openai', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
