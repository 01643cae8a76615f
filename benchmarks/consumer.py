"""borderlane's own end of the comparison: one process that subscribes, decodes and detects."""

from __future__ import annotations

import sys
import time

from paho.mqtt.client import CallbackAPIVersion, Client, MQTTMessage

from agent.ingest.wire import Inbound, decode_message
from benchmarks.flows import COUNT_EVERY, COUNT_TOPIC, READY_TOPIC
from zones.catalogue import shipped_zone_set
from zones.detector import Detector
from zones.events import event_to_json
from zones.fix import Fix
from zones.index import compile_index


def main(host: str, port: int, topic: str) -> None:
    """Count messages and publish events until stopped."""
    detector, inbound, seen = Detector(compile_index(shipped_zone_set())), Inbound(), 0
    client = Client(CallbackAPIVersion.VERSION2, client_id="borderlane-bench")

    def take(_: Client, __: object, message: MQTTMessage) -> None:
        nonlocal seen
        for item in decode_message(inbound, message.topic, message.payload, time.time()):
            if isinstance(item, Fix):
                for event in detector.feed(item):
                    client.publish("bench/events", event_to_json(event), qos=1)
        seen += 1
        if seen % COUNT_EVERY == 0:
            client.publish(COUNT_TOPIC, str(seen), qos=1)

    client.on_message = take
    client.on_connect = lambda c, *_: c.subscribe(topic, qos=1)
    client.on_subscribe = lambda c, *_: c.publish(READY_TOPIC, "1", qos=1)
    client.connect(host, port)
    client.loop_forever()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
