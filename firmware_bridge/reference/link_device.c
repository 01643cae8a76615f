/* See link_device.h. Sections as in simulator/device_firmware.py, which says the same in Python. */
#include "link_device.h"

#include <string.h>

enum { HEARTBEAT = 0, ACK = 1, NAK = 2, HELLO = 3, HELLO_REPLY = 4, CONFIG = 5, CONFIG_END = 6, FIX = 8, RAW = 9,
       SIGHTING = 10, LEASE = 16, OUTPUT = 17, FAULT = 18, WATCHDOG = 24, LOG = 31 };
enum { NAK_UNKNOWN_TYPE = 1, NAK_BAD_FIELDS, NAK_NO_HELLO, NAK_WRONG_BOOT, NAK_LEASE_TOO_LONG, NAK_LEASE_EXPIRED,
       NAK_NO_SUCH_OUTPUT, NAK_STATE_NOT_ALLOWED, NAK_CONFIG_MISMATCH, NAK_FAULT };
enum { FAULT_NONE = 0, FAULT_LAMP = 1, FAULT_POWER = 3, WHOLE_DEVICE = 0xFF };
enum { CAN_SIGN_TEXT = 1, CAN_LAMP_CURRENT = 2, CAN_WATCHDOG = 4, CAN_SIGHTINGS = 16, LAMP_MA = 350 };
enum { CONFIG_ITEMS = 16, ITEM_KIND = 0, ITEM_DEFAULT = 1, MAX_FIELDS = 16, CRC_BYTES = 4 };

/* How far `later` lies ahead of `now`, right across the wrap of the uptime after 49.7 days. */
static int32_t ahead(uint32_t later, uint32_t now)
{
    uint32_t difference = later - now;
    return difference < 0x80000000u ? (int32_t)difference : -(int32_t)(0xFFFFFFFFu - difference) - 1;
}

static int is_permissive(uint8_t state)
{
    return state == LINK_GO || state == LINK_GO_WITH_OBLIGATION || state == LINK_OPEN;
}

/* --- CRC-32 (ISO-HDLC, as in zlib), a nibble at a time: 64 bytes of table ------------------------------------- */

static uint32_t crc_more(uint32_t crc, const uint8_t *data, size_t length)
{
    static const uint32_t table[16] = {
        0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu, 0x76DC4190u, 0x6B6B51F4u, 0x4DB26158u, 0x5005713Cu,
        0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu, 0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu };
    for (size_t i = 0; i < length; i++) {
        crc = table[(crc ^ data[i]) & 15u] ^ (crc >> 4);
        crc = table[(crc ^ (uint32_t)(data[i] >> 4)) & 15u] ^ (crc >> 4);
    }
    return crc;
}

static uint32_t crc32(const uint8_t *data, size_t length)
{
    return crc_more(0xFFFFFFFFu, data, length) ^ 0xFFFFFFFFu;
}

static void little(uint8_t *into, uint32_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        into[i] = (uint8_t)(value >> (8 * i));
}

/* --- MessagePack: integers, text and bytes, in one flat array ------------------------------------------------- */

struct field {
    uint64_t number;
    const uint8_t *data;
    uint8_t is_number, is_negative, length;
};

struct message {
    struct field field[MAX_FIELDS];
    uint8_t fields;
};

static uint64_t big(const uint8_t *data, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value = value << 8 | data[i];
    return value;
}

/* One value at `data`; bytes used, or 0 if it is none of ours. */
static size_t unpack_one(const uint8_t *data, size_t length, struct field *field)
{
    uint8_t tag = data[0];
    int bytes = 0;
    memset(field, 0, sizeof *field);
    field->is_number = 1;
    if (tag < 0x80) {
        field->number = tag;
        return 1;
    }
    if (tag >= 0xE0 || (tag >= 0xD0 && tag <= 0xD3)) { /* signed: below zero is nothing a device is told */
        bytes = tag >= 0xE0 ? 0 : 1 << (tag - 0xD0);
        if (length < 1 + (size_t)bytes)
            return 0;
        field->is_negative = tag >= 0xE0 || (data[1] & 0x80);
        field->number = big(data + 1, bytes);
        return 1 + (size_t)bytes;
    }
    if (tag >= 0xCC && tag <= 0xCF) {
        bytes = 1 << (tag - 0xCC);
        if (length < 1 + (size_t)bytes)
            return 0;
        field->number = big(data + 1, bytes);
        return 1 + (size_t)bytes;
    }
    size_t head, size;
    if (tag >= 0xA0 && tag < 0xC0) {
        head = 1;
        size = tag & 31u;
    } else if ((tag == 0xD9 || tag == 0xC4) && length >= 2) { /* longer ones cannot fit in a frame */
        head = 2;
        size = data[1];
    } else {
        return 0;
    }
    if (length < head + size)
        return 0;
    field->is_number = 0;
    field->data = data + head;
    field->length = (uint8_t)size;
    return head + size;
}

/* The whole body, nothing before and nothing after; 0 if it is anything else. */
static int unpack(const uint8_t *body, size_t length, struct message *message)
{
    size_t at = 1, count;
    if (length < 1)
        return 0;
    if ((body[0] & 0xF0) == 0x90)
        count = body[0] & 15u;
    else if (length >= 3 && body[0] == 0xDC && body[1] == 0 && body[2] <= MAX_FIELDS)
        count = body[2], at = 3;
    else
        return 0;
    for (size_t i = 0; i < count; i++) {
        if (at >= length)
            return 0;
        size_t used = unpack_one(body + at, length - at, &message->field[i]);
        if (!used)
            return 0;
        at += used;
    }
    message->fields = (uint8_t)count;
    return at == length;
}

static int is_up_to(const struct message *message, int at, uint64_t most)
{
    const struct field *field = &message->field[at];
    return at < message->fields && field->is_number && !field->is_negative && field->number <= most;
}

struct packer {
    uint8_t body[LINK_MAX_BODY];
    uint16_t length;
};

static void pack_begin(struct packer *packer, uint8_t fields, uint8_t type, uint8_t seq);

static void pack_number(struct packer *packer, uint64_t value)
{
    uint8_t *at = packer->body + packer->length;
    int bytes = value < 0x80 ? 0 : value <= 0xFF ? 1 : value <= 0xFFFF ? 2 : value <= 0xFFFFFFFFu ? 4 : 8;
    if (bytes == 0) {
        *at = (uint8_t)value;
    } else {
        *at = (uint8_t)(bytes == 1 ? 0xCC : bytes == 2 ? 0xCD : bytes == 4 ? 0xCE : 0xCF);
        for (int i = 0; i < bytes; i++)
            at[1 + i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
    }
    packer->length = (uint16_t)(packer->length + 1 + bytes);
}

static void pack_text(struct packer *packer, const char *text, size_t length)
{
    uint8_t *at = packer->body + packer->length;
    size_t head = length < 32 ? 1 : 2;
    if (head == 1) {
        at[0] = (uint8_t)(0xA0 | length);
    } else {
        at[0] = 0xD9;
        at[1] = (uint8_t)length;
    }
    memcpy(at + head, text, length);
    packer->length = (uint16_t)(packer->length + head + length);
}

static void pack_begin(struct packer *packer, uint8_t fields, uint8_t type, uint8_t seq)
{
    packer->body[0] = (uint8_t)(0x90 | fields);
    packer->length = 1;
    pack_number(packer, type);
    pack_number(packer, seq);
}

/* --- frames --------------------------------------------------------------------------------------------------- */

/* COBS in one block: the body and its CRC are never longer than 244 bytes. A frame that finds no room is dropped
 * whole and counted; what matters is sent again. */
static void send_body(struct link_device *device, const uint8_t *body, size_t length)
{
    uint8_t plain[LINK_MAX_BODY + CRC_BYTES];
    size_t whole = length + CRC_BYTES, code_at = 0;
    if (device->sending + whole + 2 > LINK_SEND_ROOM) {
        device->overruns++;
        return;
    }
    uint8_t *out = device->send + device->sending;
    memcpy(plain, body, length);
    little(plain + length, crc32(body, length), CRC_BYTES);
    for (size_t i = 0; i < whole; i++) {
        out[i + 1] = plain[i];
        if (plain[i] == 0) {
            out[code_at] = (uint8_t)(i + 1 - code_at);
            code_at = i + 1;
        }
    }
    out[code_at] = (uint8_t)(whole + 1 - code_at);
    out[whole + 1] = 0;
    device->sending = (uint16_t)(device->sending + whole + 2);
}

static void send_packed(struct link_device *device, const struct packer *packer)
{
    send_body(device, packer->body, packer->length);
}

/* In place; length of the plain bytes, 0 if this was no frame of ours. */
static size_t cobs_decode(uint8_t *frame, size_t length)
{
    size_t in = 0, out = 0;
    while (in < length) {
        uint8_t code = frame[in++];
        if (code == 0 || in + code - 1u > length)
            return 0;
        for (uint8_t i = 1; i < code; i++)
            frame[out++] = frame[in++];
        if (code != 0xFF && in < length)
            frame[out++] = 0;
    }
    return out;
}

/* --- falling -------------------------------------------------------------------------------------------------- */

static void fall(struct link_output *output)
{
    output->commanded = output->fallback;
    output->leased = 0;
    output->decision_ref = 0;
    output->text[0] = 0;
}

static void drop_permissive(struct link_device *device)
{
    for (int i = 0; i < device->outputs; i++)
        if (is_permissive(device->output[i].commanded))
            fall(&device->output[i]);
}

static void expire(struct link_device *device)
{
    if (device->greeted && ahead(device->uptime_ms, device->host_heard_ms) >= LINK_HOST_SILENT_MS) {
        device->greeted = device->ready = 0;
        drop_permissive(device);
    }
    for (int i = 0; i < device->outputs; i++) {
        struct link_output *output = &device->output[i];
        if (output->leased && (device->power_low || ahead(output->expires_ms, device->uptime_ms) <= 0))
            fall(output);
    }
}

static void watch_lamps(struct link_device *device)
{
    for (int i = 0; i < device->outputs; i++) {
        struct link_output *output = &device->output[i];
        if (output->measured == output->commanded) {
            output->mismatch = 0;
            if (output->commanded != LINK_DEFAULT) /* darkness proves no lamp */
                output->has_fault = 0;
        } else if (!output->mismatch) {
            output->mismatch = 1;
            output->mismatch_ms = device->uptime_ms;
        } else if (ahead(device->uptime_ms, output->mismatch_ms) >= LINK_MISMATCH_MS) {
            output->has_fault = 1;
            if (is_permissive(output->commanded))
                fall(output);
        }
    }
}

/* --- configuration -------------------------------------------------------------------------------------------- */

static uint32_t config_crc(const struct link_kept *kept)
{
    uint32_t crc = 0xFFFFFFFFu;
    for (int i = 0; i < kept->configs; i++) { /* `stage` keeps the keys in rising order */
        uint8_t pair[6];
        little(pair, kept->key[i], 2);
        little(pair + 2, kept->value[i], 4);
        crc = crc_more(crc, pair, sizeof pair);
    }
    return crc ^ 0xFFFFFFFFu;
}

static uint32_t told_crc(const struct link_device *device)
{
    return config_crc(&device->kept) ^ (device->wrong_config_crc ? 0xFFFFFFFFu : 0);
}

static uint8_t stage(struct link_device *device, uint16_t key, uint32_t value)
{
    struct link_kept *staged = &device->staged;
    int at = 0;
    while (at < staged->configs && staged->key[at] < key)
        at++;
    if (at == staged->configs || staged->key[at] != key) {
        if (staged->configs == LINK_MAX_CONFIG)
            return NAK_CONFIG_MISMATCH;
        for (int i = staged->configs; i > at; i--) {
            staged->key[i] = staged->key[i - 1];
            staged->value[i] = staged->value[i - 1];
        }
        staged->configs++;
        staged->key[at] = key;
    }
    staged->value[at] = value;
    return 0;
}

static uint32_t config_value(const struct link_kept *kept, int output, int item)
{
    for (int i = 0; i < kept->configs; i++)
        if (kept->key[i] == output * CONFIG_ITEMS + item)
            return kept->value[i];
    return 0;
}

static int is_default_allowed(uint32_t kind, uint32_t fallback)
{
    switch (kind) {
    case LINK_SIGN:
    case LINK_SIGNAL_HEAD:
        return fallback == LINK_DEFAULT || fallback == LINK_STOP;
    case LINK_BARRIER:
        return fallback == LINK_CLOSED;
    case LINK_WATCHDOG_RELAY:
        return fallback == LINK_DEFAULT;
    default:
        return 0;
    }
}

/* Number of outputs that a configuration describes, numbered from 0 without a gap; -1 if it is none. */
static int outputs_in(const struct link_kept *kept)
{
    int count = 0;
    for (int i = 0; i < kept->configs; i++) {
        int number = kept->key[i] / CONFIG_ITEMS;
        if (number > count || number >= LINK_MAX_OUTPUTS)
            return -1;
        count = number + 1;
    }
    for (int i = 0; i < count; i++)
        if (!is_default_allowed(config_value(kept, i, ITEM_KIND), config_value(kept, i, ITEM_DEFAULT)))
            return -1;
    return count;
}

static void configure(struct link_device *device)
{
    int count = outputs_in(&device->kept);
    device->outputs = (uint8_t)(count < 0 ? 0 : count);
    memset(device->output, 0, sizeof device->output);
    for (int i = 0; i < device->outputs; i++) {
        struct link_output *output = &device->output[i];
        output->kind = (uint8_t)config_value(&device->kept, i, ITEM_KIND);
        output->fallback = (uint8_t)config_value(&device->kept, i, ITEM_DEFAULT);
        output->commanded = output->measured = output->fallback;
    }
}

static uint8_t take_config(struct link_device *device, uint32_t crc)
{
    struct link_kept staged = device->staged;
    memset(&device->staged, 0, sizeof device->staged);
    if (config_crc(&staged) != crc || device->wrong_config_crc)
        return NAK_CONFIG_MISMATCH;
    if (outputs_in(&staged) < 0)
        return NAK_BAD_FIELDS;
    staged.boot = device->kept.boot;
    device->kept = staged;
    configure(device);
    device->ready = 1;
    return 0;
}

/* --- leases --------------------------------------------------------------------------------------------------- */

static int is_allowed(uint8_t kind, uint64_t state)
{
    switch (kind) {
    case LINK_SIGN:
        return state <= LINK_HOLD;
    case LINK_SIGNAL_HEAD:
        return state == LINK_DEFAULT || state == LINK_GO || state == LINK_STOP;
    case LINK_BARRIER:
        return state == LINK_DEFAULT || state == LINK_OPEN || state == LINK_CLOSED;
    default:
        return 0;
    }
}

/* [16, seq, output, state, boot, expires_uptime_ms, decision_ref, text?] */
static uint8_t lease(struct link_device *device, const struct message *message)
{
    const struct field *text = &message->field[7];
    if (message->field[4].number != device->kept.boot)
        return NAK_WRONG_BOOT;
    if (message->field[2].number >= device->outputs)
        return NAK_NO_SUCH_OUTPUT;
    struct link_output *output = &device->output[message->field[2].number];
    uint8_t state = (uint8_t)message->field[3].number;
    uint32_t expires_ms = (uint32_t)message->field[5].number;
    int32_t left_ms = ahead(expires_ms, device->uptime_ms);
    if (!is_allowed(output->kind, state))
        return NAK_STATE_NOT_ALLOWED;
    if (left_ms <= 0)
        return NAK_LEASE_EXPIRED;
    if (left_ms > (is_permissive(state) ? LINK_PERMISSIVE_AHEAD_MS : LINK_RESTRICTIVE_AHEAD_MS))
        return NAK_LEASE_TOO_LONG;
    if (is_permissive(state) && (output->has_fault || device->power_low))
        return NAK_FAULT;
    output->commanded = state == LINK_DEFAULT ? output->fallback : state;
    output->leased = 1;
    output->expires_ms = expires_ms;
    output->decision_ref = (uint32_t)message->field[6].number;
    output->text[0] = 0;
    if (message->fields > 7) {
        memcpy(output->text, text->data, text->length);
        output->text[text->length] = 0;
    }
    return 0;
}

/* [24, seq, boot, expires_uptime_ms, armed?] */
static uint8_t arm(struct link_device *device, const struct message *message)
{
    int has_relay = 0;
    uint32_t expires_ms = (uint32_t)message->field[3].number;
    int32_t left_ms = ahead(expires_ms, device->uptime_ms);
    if (message->field[2].number != device->kept.boot)
        return NAK_WRONG_BOOT;
    for (int i = 0; i < device->outputs; i++)
        has_relay |= device->output[i].kind == LINK_WATCHDOG_RELAY;
    if (!has_relay)
        return NAK_NO_SUCH_OUTPUT;
    if (message->fields > 4 && message->field[4].number == 0) {
        device->watchdog_armed = 0;
        return 0;
    }
    if (left_ms <= 0)
        return NAK_LEASE_EXPIRED;
    if (left_ms > LINK_RESTRICTIVE_AHEAD_MS)
        return NAK_LEASE_TOO_LONG;
    device->watchdog_armed = 1;
    device->watchdog_ms = expires_ms;
    return 0;
}

/* --- speaking ------------------------------------------------------------------------------------------------- */

static void answer(struct link_device *device, uint8_t acked, uint8_t nak)
{
    struct packer packer;
    pack_begin(&packer, nak ? 4 : 3, nak ? NAK : ACK, 0);
    pack_number(&packer, acked);
    if (nak)
        pack_number(&packer, nak);
    send_packed(device, &packer);
}

static void beat(struct link_device *device)
{
    struct packer packer;
    if (ahead(device->uptime_ms, device->heartbeat_due_ms) < 0)
        return;
    device->heartbeat_due_ms = device->uptime_ms + LINK_HEARTBEAT_MS;
    pack_begin(&packer, 7, HEARTBEAT, 0);
    pack_number(&packer, device->uptime_ms);
    pack_number(&packer, device->kept.boot);
    pack_number(&packer, device->crc_errors);
    pack_number(&packer, device->resyncs);
    pack_number(&packer, device->overruns);
    send_packed(device, &packer);
}

static int pack_fault(struct link_device *device, struct packer *packer, uint8_t output, uint8_t code)
{
    pack_begin(packer, 5, FAULT, device->seq);
    pack_number(packer, output);
    pack_number(packer, code);
    pack_number(packer, device->uptime_ms);
    return 1;
}

static int pack_output(struct link_device *device, struct packer *packer, int number)
{
    struct link_output *output = &device->output[number];
    int32_t left_ms = output->leased ? ahead(output->expires_ms, device->uptime_ms) : 0;
    pack_begin(packer, 8, OUTPUT, device->seq);
    pack_number(packer, (uint64_t)number);
    pack_number(packer, output->commanded);
    pack_number(packer, output->measured);
    pack_number(packer, output->decision_ref);
    pack_number(packer, left_ms > 0 ? (uint64_t)left_ms : 0);
    pack_number(packer, output->measured == LINK_DEFAULT ? 0 : LAMP_MA);
    output->reported = 1;
    output->told_commanded = output->commanded;
    output->told_measured = output->measured;
    output->told_ref = output->decision_ref;
    output->told_ms = device->uptime_ms;
    return 1;
}

static int is_output_due(const struct link_device *device, const struct link_output *output)
{
    return device->ready && (!output->reported || output->told_commanded != output->commanded ||
                             output->told_measured != output->measured || output->told_ref != output->decision_ref ||
                             ahead(device->uptime_ms, output->told_ms) >= LINK_REPORT_EVERY_MS);
}

/* The next thing the host has to know, most urgent first; 0 if there is none. */
static int next_report(struct link_device *device, struct packer *packer)
{
    if (device->power_low != device->power_told) {
        device->power_told = device->power_low;
        return pack_fault(device, packer, WHOLE_DEVICE, device->power_low ? FAULT_POWER : FAULT_NONE);
    }
    for (int i = 0; i < device->outputs; i++) {
        struct link_output *output = &device->output[i];
        if (output->has_fault != output->fault_told) {
            output->fault_told = output->has_fault;
            return pack_fault(device, packer, (uint8_t)i, output->has_fault ? FAULT_LAMP : FAULT_NONE);
        }
        if (is_output_due(device, output))
            return pack_output(device, packer, i);
    }
    if (device->sightings) {
        const struct link_sighting *sighting = &device->sighting[0];
        device->waiting_sighting = 1;
        pack_begin(packer, 5, SIGHTING, device->seq);
        pack_number(packer, sighting->kind);
        pack_number(packer, sighting->time_ms);
        pack_text(packer, sighting->value, sighting->length);
        return 1;
    }
    return 0;
}

/* One report is under way at a time, repeated until the host has done with it. */
static void report(struct link_device *device)
{
    struct packer packer;
    if (!device->greeted)
        return;
    if (!device->waiting) {
        device->waiting_sighting = 0;
        if (!next_report(device, &packer))
            return;
        device->waiting = 1;
        device->waiting_seq = device->seq++;
        device->waiting_length = packer.length;
        memcpy(device->waiting_body, packer.body, packer.length);
        device->waiting_due_ms = device->uptime_ms;
    }
    if (ahead(device->uptime_ms, device->waiting_due_ms) >= 0) {
        device->waiting_due_ms = device->uptime_ms + LINK_REPORT_AGAIN_MS;
        send_body(device, device->waiting_body, device->waiting_length);
    }
}

static void forget_sighting(struct link_device *device, int at)
{
    device->sightings--;
    for (int i = at; i < device->sightings; i++)
        device->sighting[i] = device->sighting[i + 1];
}

static void was_acknowledged(struct link_device *device, uint8_t seq)
{
    if (!device->waiting || device->waiting_seq != seq)
        return;
    if (device->waiting_sighting && device->sightings)
        forget_sighting(device, 0);
    device->waiting = 0;
    report(device);
}

/* --- hearing -------------------------------------------------------------------------------------------------- */

/* [3, number, min, max, time_ms, config_crc]: whatever was said before is forgotten. */
static void hello(struct link_device *device, const struct message *message)
{
    struct packer packer;
    uint32_t crc = told_crc(device);
    int common = message->field[2].number <= LINK_PROTOCOL && message->field[3].number >= LINK_PROTOCOL;
    drop_permissive(device);
    memset(&device->staged, 0, sizeof device->staged);
    device->has_last = device->waiting = device->power_told = 0;
    device->seq = 0;
    device->host_heard_ms = device->uptime_ms;
    device->greeted = (uint8_t)common;
    device->ready = (uint8_t)(common && message->field[5].number == crc);
    for (int i = 0; i < device->outputs; i++)
        device->output[i].reported = device->output[i].fault_told = 0;
    pack_begin(&packer, 10, HELLO_REPLY, (uint8_t)message->field[1].number);
    pack_number(&packer, common ? LINK_PROTOCOL : 0);
    pack_number(&packer, device->kept.boot);
    pack_number(&packer, crc);
    pack_number(&packer, device->cause);
    pack_number(&packer, device->uptime_ms);
    pack_text(&packer, device->name, strlen(device->name));
    pack_text(&packer, device->firmware, strlen(device->firmware));
    pack_number(&packer, CAN_SIGN_TEXT | CAN_LAMP_CURRENT | CAN_WATCHDOG | CAN_SIGHTINGS | LINK_MAX_OUTPUTS << 8);
    send_packed(device, &packer);
}

static uint8_t obey(struct link_device *device, const struct message *message, int *config_changed)
{
    if (!device->greeted)
        return NAK_NO_HELLO;
    switch (message->field[0].number) {
    case CONFIG:
        return stage(device, (uint16_t)message->field[2].number, (uint32_t)message->field[3].number);
    case CONFIG_END: {
        uint8_t nak = take_config(device, (uint32_t)message->field[2].number);
        *config_changed |= !nak;
        return nak;
    }
    case LEASE:
        return device->ready ? lease(device, message) : NAK_NO_HELLO;
    default:
        return device->ready ? arm(device, message) : NAK_NO_HELLO;
    }
}

/* A numbered message is obeyed once; a repeat gets the same answer again. */
static void obey_once(struct link_device *device, const struct message *message, int *config_changed)
{
    uint8_t seq = (uint8_t)message->field[1].number;
    if (!device->has_last || device->last_seq != seq) {
        device->last_nak = obey(device, message, config_changed);
        device->last_seq = seq;
        device->has_last = 1;
    }
    answer(device, seq, device->last_nak);
}

static int is_text(const struct message *message, int at)
{
    const struct field *field = &message->field[at];
    if (field->is_number || field->length > LINK_TEXT)
        return 0;
    for (int i = 0; i < field->length; i++)
        if (field->data[i] < ' ' || field->data[i] > '~')
            return 0;
    return 1;
}

/* Whether the fields are what the table of docs/serial-link.md says; -1 for a type that is not in it. */
static int are_fields_good(const struct message *message)
{
    const uint64_t most8 = 0xFF, most16 = 0xFFFF, most32 = 0xFFFFFFFFu, most_time = 253402300799999u;
    switch (message->field[0].number) {
    case HEARTBEAT:
        return is_up_to(message, 2, most32) && is_up_to(message, 3, most32) && is_up_to(message, 4, most32) &&
               is_up_to(message, 5, most32) && is_up_to(message, 6, most32);
    case ACK:
        return is_up_to(message, 2, most8);
    case NAK:
        return is_up_to(message, 2, most8) && is_up_to(message, 3, most8);
    case HELLO:
        return is_up_to(message, 2, most8) && is_up_to(message, 3, most8) && is_up_to(message, 4, most_time) &&
               is_up_to(message, 5, most32);
    case CONFIG:
        return is_up_to(message, 2, most16) && is_up_to(message, 3, most32);
    case CONFIG_END:
        return is_up_to(message, 2, most32);
    case LEASE:
        return is_up_to(message, 2, most8) && is_up_to(message, 3, most8) && is_up_to(message, 4, most32) &&
               is_up_to(message, 5, most32) && is_up_to(message, 6, most32) &&
               (message->fields <= 7 || is_text(message, 7));
    case WATCHDOG:
        return is_up_to(message, 2, most32) && is_up_to(message, 3, most32) &&
               (message->fields <= 4 || is_up_to(message, 4, most8));
    case HELLO_REPLY:
    case FIX:
    case RAW:
    case SIGHTING:
    case OUTPUT:
    case FAULT:
    case LOG:
        return 1;
    default:
        return -1;
    }
}

static void heard(struct link_device *device, const uint8_t *body, size_t length, int *config_changed)
{
    struct message message;
    if (!unpack(body, length, &message) || !is_up_to(&message, 0, 0xFF) || !is_up_to(&message, 1, 0xFF))
        return;
    int good = are_fields_good(&message);
    uint8_t seq = (uint8_t)message.field[1].number;
    if (good <= 0) {
        answer(device, seq, good < 0 ? NAK_UNKNOWN_TYPE : NAK_BAD_FIELDS);
        return;
    }
    switch (message.field[0].number) {
    case HEARTBEAT:
        device->host_heard_ms = device->uptime_ms;
        break;
    case ACK:
    case NAK:
        was_acknowledged(device, (uint8_t)message.field[2].number);
        break;
    case HELLO:
        hello(device, &message);
        break;
    case CONFIG:
    case CONFIG_END:
    case LEASE:
    case WATCHDOG:
        obey_once(device, &message, config_changed);
        break;
    default: /* a device says these: a line that echoes is no host */
        break;
    }
}

static void frame_ended(struct link_device *device, int *config_changed)
{
    size_t length = cobs_decode(device->frame, device->framed);
    if (length <= CRC_BYTES) {
        device->crc_errors++;
        return;
    }
    uint8_t crc[CRC_BYTES];
    length -= CRC_BYTES;
    little(crc, crc32(device->frame, length), CRC_BYTES);
    if (memcmp(crc, device->frame + length, CRC_BYTES) != 0)
        device->crc_errors++;
    else
        heard(device, device->frame, length, config_changed);
}

/* --- what the board calls ------------------------------------------------------------------------------------- */

void link_start(struct link_device *device, const struct link_kept *kept, uint8_t cause, uint32_t uptime_ms)
{
    struct link_kept held = *kept; /* `kept` may lie in `device` */
    memset(device, 0, sizeof *device);
    device->kept = held;
    device->kept.boot++;
    device->cause = cause;
    device->uptime_ms = device->heartbeat_due_ms = uptime_ms;
    device->name = "reference";
    device->firmware = "reference-c 1";
    if (device->kept.configs > LINK_MAX_CONFIG) /* flash that was never written */
        device->kept.configs = 0;
    configure(device);
}

int link_feed(struct link_device *device, const uint8_t *data, size_t length, uint32_t uptime_ms)
{
    int config_changed = 0;
    device->uptime_ms = uptime_ms;
    expire(device);
    for (size_t i = 0; i < length; i++) {
        if (data[i] == 0) {
            if (!device->skipping && device->framed)
                frame_ended(device, &config_changed);
            device->framed = 0;
            device->skipping = 0;
        } else if (device->skipping) {
            continue;
        } else if (device->framed + 1 >= LINK_MAX_FRAME) { /* a frame has its 00 by then */
            device->framed = 0;
            device->skipping = 1;
            device->resyncs++;
        } else {
            device->frame[device->framed++] = data[i];
        }
    }
    return config_changed;
}

void link_tick(struct link_device *device, uint32_t uptime_ms)
{
    device->uptime_ms = uptime_ms;
    expire(device);
    watch_lamps(device);
    if (device->watchdog_armed && ahead(device->watchdog_ms, uptime_ms) <= 0) {
        device->watchdog_armed = 0;
        device->host_resets++; /* the board pulls the relay */
    }
    beat(device);
    report(device);
}

size_t link_take(struct link_device *device, uint8_t *into, size_t room)
{
    size_t length = device->sending < room ? device->sending : room;
    memcpy(into, device->send, length);
    memmove(device->send, device->send + length, device->sending - length);
    device->sending = (uint16_t)(device->sending - length);
    return length;
}

void link_sight(struct link_device *device, uint8_t kind, const char *value, uint64_t time_ms)
{
    size_t length = strlen(value);
    if (device->sightings == LINK_MAX_SIGHTINGS) {
        forget_sighting(device, device->waiting && device->waiting_sighting);
        device->overruns++;
    }
    struct link_sighting *sighting = &device->sighting[device->sightings++];
    sighting->kind = kind;
    sighting->time_ms = time_ms;
    sighting->length = (uint8_t)(length < LINK_SIGHTING_TEXT ? length : LINK_SIGHTING_TEXT);
    memcpy(sighting->value, value, sighting->length);
}
