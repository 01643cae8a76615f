"""The configuration survives being written, and says what is wrong with it."""

import pytest

from agent.errors import ConfigError
from simulator.lorry_config import BrokerTable, LorriesConfig, RunTable, ServicesTable, load_lorries_config, to_toml


def written(tmp_path, text):
    file = tmp_path / "lorries.toml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    "config",
    [
        LorriesConfig(),
        LorriesConfig(
            run=RunTable(run_id="A7", seconds=60.0, tracks='odd "name"\\with', lorries=6),
            broker=BrokerTable(port=4222, protocol="3.1.1"),
            services=ServicesTable(agent_keys={"box-1": "k.pem", "box 2": "l.pem"}),
        ),
    ],
)
def test_reads_back_as_written(tmp_path, config):
    assert load_lorries_config(written(tmp_path, to_toml(config))) == config


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[run]\nlorrys = 3\n", 'did you mean "lorries"'),
        ("[run]\nlorries = 0\n", "lorries"),
        ("[run]\nrun_id = 'a b'\n", "run_id"),
        ("[broker]\nprotocol = '4'\n", "expected one of auto, 5, 3.1.1"),
        ("[brokr]\n", 'did you mean "broker"'),
        ("run = [", "not TOML"),
    ],
)
def test_faults_name_key_and_expectation(tmp_path, text, words):
    with pytest.raises(ConfigError, match=r"lorries\.toml") as caught:
        load_lorries_config(written(tmp_path, text))
    assert words in str(caught.value)
