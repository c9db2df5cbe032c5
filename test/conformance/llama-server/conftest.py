import pytest
import utils


@pytest.fixture(autouse=True)
def stop_server_after_each_test():
    yield
    for server in list(utils.running):
        server.stop()
