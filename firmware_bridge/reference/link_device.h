/* The device's side of the borderlane serial link: a state machine without I/O, C99, no library, no heap.
 *
 * Give it bytes and your uptime; take the bytes it wants to send and read what each output must show. What goes over
 * the line is written in docs/serial-link.md, what a board has to add in README.md beside this file.
 */
#ifndef LINK_DEVICE_H
#define LINK_DEVICE_H

#include <stddef.h>
#include <stdint.h>

enum {
    LINK_PROTOCOL = 1,
    LINK_MAX_BODY = 240,
    LINK_MAX_FRAME = 246,         /* COBS byte, body, CRC-32, closing 00 */
    LINK_MAX_OUTPUTS = 8,
    LINK_MAX_CONFIG = 32,
    LINK_MAX_SIGHTINGS = 8,
    LINK_TEXT = 16,
    LINK_SIGHTING_TEXT = 32,
    LINK_SEND_ROOM = 1024,
    LINK_HEARTBEAT_MS = 500,
    LINK_HOST_SILENT_MS = 1500,
    LINK_REPORT_AGAIN_MS = 500,
    LINK_REPORT_EVERY_MS = 1000,
    LINK_MISMATCH_MS = 500,
    LINK_PERMISSIVE_AHEAD_MS = 3000,
    LINK_RESTRICTIVE_AHEAD_MS = 60000
};

enum link_state { LINK_DEFAULT, LINK_GO, LINK_GO_WITH_OBLIGATION, LINK_STOP, LINK_HOLD, LINK_OPEN, LINK_CLOSED };
enum link_kind { LINK_SIGN = 1, LINK_SIGNAL_HEAD, LINK_BARRIER, LINK_WATCHDOG_RELAY };
enum link_cause { LINK_RESET_POWER, LINK_RESET_WATCHDOG, LINK_RESET_BROWN_OUT, LINK_RESET_COMMAND };

/* What has to outlive a restart: keep it in flash. `boot` rises by one at each start. */
struct link_kept {
    uint32_t boot;
    uint8_t configs;
    uint16_t key[LINK_MAX_CONFIG];
    uint32_t value[LINK_MAX_CONFIG];
};

struct link_output {
    uint8_t kind, fallback;       /* fallback: the site's default */
    uint8_t commanded, measured;  /* the board reads `commanded` and writes `measured` */
    uint8_t leased, has_fault, mismatch, fault_told, reported;
    uint8_t told_commanded, told_measured;
    uint32_t told_ref, told_ms, expires_ms, decision_ref, mismatch_ms;
    char text[LINK_TEXT + 1];
};

struct link_sighting {
    uint8_t kind, length;
    uint64_t time_ms;
    char value[LINK_SIGHTING_TEXT];
};

struct link_device {
    struct link_kept kept;
    uint32_t uptime_ms;
    uint8_t cause, outputs;
    struct link_output output[LINK_MAX_OUTPUTS];
    uint8_t greeted, ready;       /* a host is there; and its configuration is ours */
    uint8_t power_low;            /* the board writes it: everything falls */
    uint8_t wrong_config_crc;     /* fault switch for tests */
    uint32_t crc_errors, resyncs, overruns, host_resets;
    const char *name, *firmware;

    /* private */
    uint8_t frame[LINK_MAX_FRAME];
    uint16_t framed;
    uint8_t skipping, power_told;
    struct link_kept staged;
    uint32_t host_heard_ms, heartbeat_due_ms;
    uint8_t has_last, last_seq, last_nak;
    uint8_t seq, waiting, waiting_seq, waiting_sighting;
    uint16_t waiting_length;
    uint8_t waiting_body[LINK_MAX_BODY];
    uint32_t waiting_due_ms;
    struct link_sighting sighting[LINK_MAX_SIGHTINGS];
    uint8_t sightings, watchdog_armed;
    uint32_t watchdog_ms;
    uint8_t send[LINK_SEND_ROOM];
    uint16_t sending;
};

/* Start (again): `kept` as it lies in flash (all zero at the very first start); write `device->kept` back to flash
 * afterwards. The outputs stand at the site's default when this returns. */
void link_start(struct link_device *device, const struct link_kept *kept, uint8_t cause, uint32_t uptime_ms);

/* Bytes from the line. True (1) if the configuration changed: write `device->kept` to flash. */
int link_feed(struct link_device *device, const uint8_t *data, size_t length, uint32_t uptime_ms);

/* Every 10 ms, and from nothing that could wait for the host. */
void link_tick(struct link_device *device, uint32_t uptime_ms);

/* Bytes for the line, at most `room`; each is given once. */
size_t link_take(struct link_device *device, uint8_t *into, size_t room);

/* Something was read. The oldest of more than LINK_MAX_SIGHTINGS waiting ones is lost and counted. */
void link_sight(struct link_device *device, uint8_t kind, const char *value, uint64_t time_ms);

#endif
