from __future__ import annotations

from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.config import CHOICES, ClockTable, parse_config, parse_tables
from simulator.avl_unit import imei_of
from simulator.control_room.config import RoomConfig
from simulator.customs.commands import CustomsConfig
from simulator.demo_files import (
    AGENT_ID,
    BrokerPlace,
    Layout,
    Ports,
    agent_toml,
    customs_toml,
    every_second_crossing,
    listener_toml,
    lorries_config,
    room_toml,
    write_lorries,
)
from simulator.lorry_config import RunTable, load_lorries_config
from simulator.scenario import avl_units

PORT = st.integers(1, 65_535)
PORTS = st.builds(Ports, PORT, PORT, PORT, PORT)
CLOCKS = st.builds(ClockTable, speedup=st.floats(0.1, 100.0), origin_s=st.floats(0.0, 4e9))
PLACES = st.builds(BrokerPlace, st.just("127.0.0.1"), PORT, st.sampled_from(["auto", "5", "3.1.1"]))
UNITS = st.lists(
    st.tuples(st.sampled_from(["receiver", "ais"]), st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True)), max_size=3
).map(tuple)


@given(PORTS, PLACES, CLOCKS, UNITS)
@settings(max_examples=100)
def test_the_agents_file_reads_back_as_what_was_meant(
    ports: Ports, place: BrokerPlace, clock: ClockTable, units: tuple[tuple[str, str], ...]
) -> None:
    layout = Layout(Path("run"), ports)
    config = parse_config(agent_toml(layout, place, clock, units, layout.customs_url), "agent.toml")
    assert config.agent.id == AGENT_ID
    assert (config.mqtt.host, config.mqtt.port, config.mqtt.protocol) == (place.host, place.port, place.protocol)
    assert config.clock == clock
    assert config.http.port == ports.agent and config.customs.url == layout.customs_url
    assert [(port.role, port.unit) for port in config.serial] == list(units)
    assert [port.path for port in config.serial] == [str(layout.folder / "serial" / unit) for _, unit in units]


@given(PORTS, CLOCKS)
@settings(max_examples=50)
def test_customs_and_control_room_follow_the_same_clock(ports: Ports, clock: ClockTable) -> None:
    layout = Layout(Path("run"), ports)
    customs = parse_tables(customs_toml(clock), "customs.toml", CustomsConfig, CHOICES, {})
    room = parse_tables(room_toml(layout, clock), "room.toml", RoomConfig, CHOICES, {})
    shown = parse_tables(room_toml(layout, clock, "secret"), "room.toml", RoomConfig, CHOICES, {})
    assert not room.trade.carriers and shown.trade.carriers[0].name == "Alpenfracht AG"
    assert "secret" not in room_toml(layout, clock, "secret")
    assert customs.clock == room.clock == clock
    assert room.http.port == ports.room
    assert [(agent.id, agent.url) for agent in room.agents] == [(AGENT_ID, layout.agent_url)]


def test_the_lorries_file_reads_back_and_logs_for_machines(tmp_path: Path) -> None:
    layout = Layout(tmp_path, Ports(1, 2, 3, 4))
    clock = ClockTable(speedup=10.0, origin_s=1_800_000_000.25)
    run = RunTable(run_id="ab12", seed=7, lorries=12, seconds=250.0, tracks='a "quoted" folder')
    config = lorries_config(layout, BrokerPlace("127.0.0.1", 4, "3.1.1"), clock, run)
    write_lorries(layout, config)
    read = load_lorries_config(layout.file("lorries"))
    assert (read.run, read.broker, read.services, read.clock) == (run, config.broker, config.services, clock)
    assert read.log.format == "json"
    assert msgspec.structs.replace(read, log=config.log) == config


def test_all_parts_are_told_the_same_places(tmp_path: Path) -> None:
    layout = Layout(tmp_path, Ports(8090, 8091, 8092, 8093))
    assert layout.room_url == "http://127.0.0.1:8090/"
    assert (layout.agent_url, layout.customs_url) == ("http://127.0.0.1:8091", "http://127.0.0.1:8092")
    place = BrokerPlace("127.0.0.1", layout.ports.broker, "5")
    agent = parse_config(agent_toml(layout, place, ClockTable(), (), layout.customs_url), "agent.toml")
    lorries = lorries_config(layout, place, ClockTable(), RunTable())
    assert agent.customs.url == lorries.services.customs_url
    assert agent.mqtt.port == lorries.broker.port == 8093
    assert tmp_path / lorries.services.agent_keys[AGENT_ID] == layout.agent_key
    assert (tmp_path / agent.agent.signing_key).parent == layout.agent_key.parent
    assert tmp_path / agent.agent.data_dir == layout.agent_data
    assert (tmp_path / agent.customs.authority_keys["authority-1"]).parent == layout.customs_data


def test_agent_and_lorries_agree_on_the_listener_and_its_units(tmp_path: Path) -> None:
    layout = Layout(tmp_path, Ports(8090, 8091, 8092, 8093, 8094))
    place, units = BrokerPlace("127.0.0.1", layout.ports.broker, "5"), avl_units("ab", 60)
    text = agent_toml(layout, place, ClockTable(), (), layout.customs_url) + listener_toml(layout, units)
    (listener,) = parse_config(text, "agent.toml").listener
    assert listener.units == {imei_of(number): unit for number, unit in units.items()} and len(units) > 1
    assert listener.private_network and listener.host == "127.0.0.1"
    lorries = lorries_config(layout, place, ClockTable(), RunTable())
    assert (lorries.avl.host, lorries.avl.port) == (listener.host, listener.port) == ("127.0.0.1", 8094)
    assert listener_toml(layout, {}) == "" == listener_toml(Layout(tmp_path, Ports(1, 2, 3, 4)), units)


def test_conditional_answers_count_at_every_second_crossing_where_that_is_asked_for() -> None:
    crossings = every_second_crossing()
    assert len(crossings) == 32 and list(crossings) == sorted(crossings)
    text = customs_toml(ClockTable(), crossings)
    assert parse_tables(text, "customs.toml", CustomsConfig, CHOICES, {}).risk.conditional_crossings == crossings
    default = parse_tables(customs_toml(ClockTable()), "customs.toml", CustomsConfig, CHOICES, {})
    assert default.risk.conditional_crossings == ()
