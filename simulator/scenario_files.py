"""The scenario of a configuration: reads zones, roads and recorded tracks from files."""

from __future__ import annotations

from pathlib import Path

from agent.errors import ConfigError
from simulator.customs.models import shipped_declarations
from simulator.lorry_config import LorriesConfig
from simulator.scenario import Scenario, Track, make_scenario
from zones.border_zone import ZoneSet
from zones.catalogue import read_zone_file, shipped_centre_lines, shipped_zone_set
from zones.tracks import read_track

TRACK_SUFFIXES = (".csv", ".gpx")


def read_tracks(folder: Path) -> tuple[Track, ...]:
    """Every CSV and GPX file of a folder, by name.

    Raises:
        ConfigError: the folder cannot be read or holds no track.
        TrackError: a file is not a track: where, and what was expected.
    """
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in TRACK_SUFFIXES)
    except OSError as error:
        raise ConfigError(f"{folder}: tracks cannot be read: {error.strerror}") from error
    if not files:
        raise ConfigError(f"{folder}: no tracks: expected files ending in {' or '.join(TRACK_SUFFIXES)}")
    return tuple(Track(file.stem, tuple(read_track(file.read_bytes(), file.name))) for file in files)


def zones_of(config: LorriesConfig, folder: Path) -> ZoneSet:
    """The zone set in force for the lorries."""
    return read_zone_file(folder / config.run.zones) if config.run.zones else shipped_zone_set()


def scenario_of(config: LorriesConfig, folder: Path, start_s: float) -> Scenario:
    """The scenario that these lorries drive.

    Args:
        config: Of the lorries.
        folder: Of the configuration file; relative paths start there.
        start_s: When the first lorry sets out, UTC seconds of the run's clock.
    """
    run = config.run
    tracks = read_tracks(folder / run.tracks) if run.tracks is not None else ()
    return make_scenario(
        run.seed,
        run.lorries,
        start_s,
        zones_of(config, folder),
        shipped_centre_lines(),
        run.seconds,
        run_id=run.run_id,
        tracks=tracks,
        avl=config.avl.port > 0,
        lines=shipped_declarations(),
    )
