"""agent/config.py: what is refused, in which words, and all of it at once."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import CHOICES, Config, PolicyConfig, load_config, parse_config
from agent.errors import ConfigError


def faults(text: str, environment: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as error:
        parse_config(text, "box.toml", environment)
    return str(error.value).splitlines()


def test_an_empty_file_is_all_defaults() -> None:
    assert parse_config("", "box.toml") == Config()


def test_the_template_says_every_default_and_nothing_else() -> None:
    text = (files("agent") / "templates" / "borderlane.toml").read_text("utf-8")
    assert parse_config(text, "borderlane.toml") == Config()
    tables = tomllib.loads(text)
    for name in ("agent", "mqtt", "customs", "http", "zones", "policy", "commit", "log"):
        kind = type(getattr(Config(), name))
        assert set(tables[name]) == {field.name for field in msgspec.structs.fields(kind)}, name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[mqtt]\nhots = 'x'", 'mqtt.hots: unknown key, did you mean "host"?'),
        ("[detection]\ndwel_s = 1", 'detection.dwel_s: unknown key, did you mean "dwell_s"?'),
        ("[log]\nxyzzy = 1", "log.xyzzy: unknown key, expected one of format, level"),
        ("[polcy]\nx = 1", 'polcy: unknown table, did you mean "policy"?'),
        ("[mqtt]\nport = 65536", "mqtt.port: Expected `int` <= 65535"),
        ("[mqtt]\nport = 0", "mqtt.port: Expected `int` >= 1"),
        ("[mqtt]\nport = '1883'", "mqtt.port: Expected `int`, got `str`"),
        ("[policy]\nbudget_share = 0.95", "policy.budget_share: Expected `float` <= 0.9"),
        ("[policy]\nbudget_max_s = 8.1", "policy.budget_max_s: Expected `float` <= 8.0"),
        ("[policy]\nbudget_max_s = nan", "policy.budget_max_s: Expected `float` > 0.0"),
        ("[customs]\nfeed_interval_s = inf", "customs.feed_interval_s: Expected `float` <= 31536000.0"),
        ("[mqtt]\nprotocol = '6'", "mqtt.protocol: '6', expected one of auto, 5, 3.1.1"),
        ("[log]\nlevel = 'loud'", "log.level: 'loud', expected one of debug, info, warning, error"),
        ("[agent]\nid = 'box 1'", "agent.id: Expected `str` matching regex '^[A-Za-z0-9._-]{1,64}$'"),
        ("[[serial]]\npath = '/dev/x'", "serial[0]: Object missing required field `unit`"),
        ("[[serial]]\nunit = 'a'\npath = 'b'\nrole = 'radio'", "serial[0].role: Invalid enum value 'radio'"),
        ("[[serial]]\nunit = 'a'\npath = 'b'\nbuad = 1", "serial[0]: Object contains unknown field `buad`"),
        ("[operators.x]\nunts = []", "operators[...]: Object contains unknown field `unts`"),
        ("agent = 3", "agent: Expected `object`, got `int`"),
    ],
)
def test_a_fault_names_file_key_and_what_was_expected(text: str, said: str) -> None:
    assert faults(text) == [f"box.toml: {said}"]


def test_all_faults_of_a_file_are_listed() -> None:
    text = "[mqtt]\nhots = 'x'\nport = 0\nprotocol = '6'\n[policy]\nbudget_share = 2\n[agnt]\nid = 'a'\n"
    assert [fault.split(":")[1].strip() for fault in faults(text)] == [
        "agnt",
        "mqtt.hots",
        "mqtt.port",
        "mqtt.protocol",
        "policy.budget_share",
    ]


def test_what_is_no_toml_says_where() -> None:
    (fault,) = faults("[mqtt\nhost = 1")
    assert fault.startswith("box.toml: not TOML:") and "line 1" in fault


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("BORDERLANE_MQTT__PORT", "0", "mqtt.port: Expected `int` >= 1"),
        ("BORDERLANE_MQTT__PORT", "1.5", "mqtt.port: Expected `int`, got `float`"),
        ("BORDERLANE_MQTT__PORT", "many", "mqtt.port: Expected `int`, got `str`"),
        ("BORDERLANE_MQTT__HOTS", "x", 'mqtt.hots: unknown key, did you mean "host"?'),
        ("BORDERLANE_LOG__LEVEL", "loud", "log.level: 'loud', expected one of debug, info, warning, error"),
    ],
)
def test_the_environment_is_checked_as_the_file_is(name: str, text: str, said: str) -> None:
    assert faults("", {name: text}) == [f"box.toml: {said}"]


def test_the_environment_goes_over_the_file_and_leaves_the_rest() -> None:
    text = "[mqtt]\nhost = 'a'\nport = 1\n[policy]\nfound_inside_holds = false\n"
    environment = {
        "BORDERLANE_MQTT__PORT": "8883",
        "BORDERLANE_POLICY__FOUND_INSIDE_HOLDS": "true",
        "BORDERLANE_HTTP__HOST": "::1",
        "BORDERLANE_REQUIRE_ALL": "1",
        "PATH": "/bin",
    }
    config = parse_config(text, "box.toml", environment)
    assert (config.mqtt.host, config.mqtt.port) == ("a", 8883)
    assert config.policy.found_inside_holds is True
    assert config.http.host == "::1"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.toml: cannot be read"):
        load_config(tmp_path / "missing.toml", {})
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"binary\.toml: cannot be read"):
        load_config(binary, {})


@given(st.sampled_from(sorted(CHOICES)), st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8))
def test_a_choice_is_one_of_the_words_or_refused(place: tuple[str, str], word: str) -> None:
    table, key = place
    text = f"[{table}]\n{key} = '{word}'"
    if word in CHOICES[place]:
        assert getattr(getattr(parse_config(text, "f"), table), key) == word
    else:
        assert faults(text)[0].endswith(f"expected one of {', '.join(CHOICES[place])}")


NUMBERS = [field.name for field in msgspec.structs.fields(PolicyConfig) if field.name != "found_inside_holds"]


@given(st.sampled_from(NUMBERS), st.one_of(st.floats(), st.floats(-1, 10)))
def test_no_number_that_is_not_finite_and_not_negative_comes_through(key: str, value: float) -> None:
    text = f"[policy]\n{key} = {value!r}"
    try:
        taken = getattr(parse_config(text, "f").policy, key)
    except ConfigError as error:
        assert f"policy.{key}: Expected" in str(error)
    else:
        assert taken == value and 0 <= taken <= 1e12


PORTS = (
    "[[serial]]\nunit = 'box'\npath = '/dev/a'\n[[serial]]\nunit = 'sign'\npath = '/dev/b'\nrole = 'microcontroller'\n"
)


@pytest.mark.parametrize(
    ("capture", "said"),
    [
        ("ports = ['box']", ["carries positions of vehicles"]),
        ("ports = ['siren', 'box']", ["siren: expected the unit of a [[serial]] table (box, sign)", "box: carries"]),
    ],
)
def test_ports_of_vehicles_are_not_recorded_by_chance(capture: str, said: list[str]) -> None:
    text = f"{PORTS}[capture]\n{capture}\n"
    assert all(word in fault for word, fault in zip(said, faults(text), strict=True))


@pytest.mark.parametrize("capture", ["ports = ['sign']", "ports = ['box']\nallow_vehicle_positions = true"])
def test_ports_that_may_be_recorded(capture: str) -> None:
    config = parse_config(f"{PORTS}[capture]\n{capture}\n", "box.toml")
    assert len(config.capture.ports) == 1


UNITS = 'units = { "352093086403655" = "lorry-7" }'


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("port = 5027", "Object missing required field `units`"),
        (f"port = 5027\n{UNITS}", "units are not authenticated: expected private_network = true, certificates = true"),
        (f"port = 5027\n{UNITS}\ntls_key = 'k.pem'", "units are not authenticated"),
        (f"port = 5027\n{UNITS}\ncertificates = true", "without [tls]"),
        (f"port = 5027\n{UNITS}\nprivate_network = true\ntls_key = 'k.pem'", "expected both or neither"),
        (f"port = 5027\n{UNITS}\ntls_key = 'k'\ntls_certificate = 'c'\nudp = true", "udp: not encrypted"),
        (f"port = 5027\n{UNITS}\nprivate_network = true\nprotocol = 'gt06'", "expected one of teltonika, ruptela"),
        (f"port = 5027\n{UNITS}\nprivate_network = true\nprotocol = 'ruptela'\nudp = true", "only teltonika has UDP"),
        (f"port = 5027\n{UNITS}\nprivate_network = true\nprotocol = 'ruptela'\ndisplay = '{{text}}'", "takes commands"),
        (f"port = 5027\n{UNITS}\nprivate_network = true\ndisplay = 'text'", "display: expected {text} in it"),
        (f"port = 5027\n{UNITS}\nprivate_network = true\nlanguage = 'rm'", "expected one of de, en, fr, it, pl"),
        ('port = 5027\nprivate_network = true\nunits = { "35" = "a" }', "regex '^[0-9]{15}$'"),
        (
            'port = 5027\nprivate_network = true\nunits = { "352093086403655" = "a", "352093086403663" = "a" }',
            "two IMEIs for one unit",
        ),
    ],
)
def test_a_listener_that_does_not_fit_together_is_refused(lines: str, said: str) -> None:
    (fault,) = faults(f"[[listener]]\n{lines}\n")
    assert fault.startswith("box.toml: listener") and said in fault


def test_a_listener_needs_a_private_line_or_tls() -> None:
    private = parse_config(f"[[listener]]\nport = 5027\nprivate_network = true\n{UNITS}\n", "box.toml").listener[0]
    assert (private.protocol, private.udp, private.units) == ("teltonika", False, {"352093086403655": "lorry-7"})
    tls = f"[[listener]]\nport = 5027\ntls_certificate = 'c.pem'\ntls_key = 'k.pem'\n{UNITS}\n"
    assert parse_config(tls, "box.toml").listener[0].tls_key == "k.pem"


DEVICES = PORTS + "[[serial]]\nunit = 'relays'\npath = '/dev/c'\nrole = 'modbus'\nparity = 'even'\n"
OUTPUT = "[[output]]\nid = 'o1'\ndevice = 'sign'\ncrossing = 'thayngen'\n"
RELAY = "[[output]]\nid = 'o2'\ndevice = 'relays'\ncrossing = 'thayngen'\n"


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (OUTPUT.replace("'sign'", "'box'"), ["output[0].device: 'box', expected one of relays, sign"]),
        (OUTPUT.replace("crossing", "# crossing"), ["output[0].crossing: missing"]),
        (OUTPUT + "kind = 'siren'", ["output[0].kind: 'siren', expected one of sign, signal_head, barrier, watchdog"]),
        (OUTPUT + "direction = 'UP'", ["output[0].direction: 'UP', expected one of IN, OUT"]),
        (OUTPUT + "default = 'go'", ["output[0].default: 'go', expected one of blank, stop"]),
        (OUTPUT + "kind = 'barrier'\ndefault = 'open'", ["output[0].default: 'open', expected one of closed"]),
        (OUTPUT + OUTPUT, ["output[1].id: 'o1' is there twice"]),
        (RELAY, ["output[0].fail_safe: '', expected one of board_watchdog, timed_coil, restrictive_only"]),
        (
            RELAY + "fail_safe = 'restrictive_only'\ncoils = { GO = 1, STOP = 2 }",
            ["output[0].coils: GO with restrictive_only"],
        ),
        (RELAY + "fail_safe = 'timed_coil'\ncoils = { GREEN = 1 }", ["output[0].coils: 'GREEN', expected one of GO, "]),
        (RELAY + "fail_safe = 'timed_coil'\ndefault = 'stop'", ["output[0].coils: none for STOP"]),
        (RELAY + "fail_safe = 'timed_coil'\nkind = 'watchdog'", ["output[0].kind: a relay board restarts nothing"]),
    ],
)
def test_outputs_that_could_not_fail_safe_are_refused(output: str, said: list[str]) -> None:
    assert all(word in fault for word, fault in zip(said, faults(DEVICES + output), strict=True))


def test_more_outputs_than_a_device_has_are_refused() -> None:
    many = "".join(OUTPUT.replace("o1", f"o{number}") for number in range(9))
    assert faults(DEVICES + many) == ["box.toml: output: 9 at 'sign', expected at most 8"]


def test_outputs_of_both_sorts_of_device() -> None:
    relay = RELAY + "fail_safe = 'board_watchdog'\ncoils = { GO = 0, STOP = 1 }\n"
    config = parse_config(DEVICES + OUTPUT + "kind = 'barrier'\nlane = '2'\n" + relay, "box.toml")
    barrier, sign = config.output
    assert (barrier.kind, barrier.lane, barrier.default) == ("barrier", "2", "")
    assert sign.coils == {"GO": 0, "STOP": 1} and sign.modbus_unit == 1


def test_a_parity_that_is_none_is_refused() -> None:
    assert "expected one of none, even, odd" in faults(DEVICES.replace("even", "mark"))[0]


TLS = '[tls]\nca = "ca"\ncertificate = "c"\nkey = "k"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[http]\nhost = "0.0.0.0"', "http.host: '0.0.0.0' without [tls], expected one of 127.0.0.1, ::1, localhost"),
        ("[mqtt]\ntls = true", "mqtt.tls: true without [tls], expected ca, certificate and key there"),
        ('[tls]\nca = "ca"', "tls: ca, certificate, key: expected all three or none"),
        (TLS + '[mqtt]\ntls = true\nreceiver_key = "k"', "expected both or neither"),
        (TLS + '[mqtt]\nreceiver_key = "k"\nreceiver_certificate = "c"', "expected mqtt.tls = true with it"),
    ],
)
def test_half_a_certificate_is_none(text: str, said: str) -> None:
    assert said in "\n".join(faults(text))


def test_with_certificates_the_agent_may_be_reached_from_elsewhere() -> None:
    assert parse_config(TLS + '[http]\nhost = "0.0.0.0"', "box.toml").http.host == "0.0.0.0"
