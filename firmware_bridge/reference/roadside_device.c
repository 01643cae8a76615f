/* The reference device as a program on a pseudo-terminal, for trying out a host against it:
 *
 *     cc -std=c99 -o roadside_device link_device.c roadside_device.c && ./roadside_device ./sign
 *
 * The path given is a link to the terminal and vanishes while the device is unplugged. What each output shows is
 * printed as JSON Lines with CLOCK_MONOTONIC milliseconds; faults are commanded on standard input, one a line:
 *
 *     mute on|off          say nothing              deaf on|off        hear nothing
 *     stall on|off         hold the host's bytes    reboot             restart
 *     hang MS              stop for so long; a hardware watchdog restarts it after 150 ms
 *     drop N | flip N      lose, or damage, every N-th byte in both directions; 0 ends it
 *     stuck OUTPUT STATE   a lamp that does not follow; STATE -1 ends it
 *     wrong-config on|off  a flash that keeps nothing right
 *     power low|good       brown-out
 *     sight KIND TEXT      a number plate or seal is read
 *     unplug | replug      the path vanishes, returns
 *     quit                 as does the end of standard input
 */
#define _XOPEN_SOURCE 700

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "link_device.h"

enum { TICK_MS = 10, HANG_RESET_MS = 150, LINE_ROOM = 128, HELD_ROOM = 4096, NOT_STUCK = -1 };

static const char *const STATE_NAMES[] = { "DEFAULT", "GO", "GO_WITH_OBLIGATION", "STOP", "HOLD", "OPEN", "CLOSED" };

static struct link_device device;
static struct { int mute, deaf, stall, drop, flip, stuck[LINK_MAX_OUTPUTS]; } fault;
static struct { uint8_t commanded, measured; uint32_t decision_ref; } told[LINK_MAX_OUTPUTS];
static const char *path;
static int ours = -1, theirs = -1;
static int64_t started_ms, hung_until_ms;
static int resets_after_hang;
static uint32_t host_resets_told;
static unsigned long carried;
static uint8_t held[HELD_ROOM];
static size_t holding;

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static uint32_t uptime_ms(void)
{
    return (uint32_t)(now_ms() - started_ms);
}

static void say(const char *event)
{
    printf("{\"at_ms\": %lld, \"event\": \"%s\", \"boot\": %lu}\n", (long long)now_ms(), event,
           (unsigned long)device.kept.boot);
}

static void plug_in(void)
{
    struct termios raw;
    char name[128];
    if (ours >= 0)
        return;
    ours = posix_openpt(O_RDWR | O_NOCTTY);
    if (ours < 0 || grantpt(ours) || unlockpt(ours) || strlen(ptsname(ours)) >= sizeof name) {
        perror("pseudo-terminal");
        exit(3);
    }
    strcpy(name, ptsname(ours));
    theirs = open(name, O_RDWR | O_NOCTTY); /* stays open: no hang-up when a host goes and comes back */
    if (theirs < 0 || tcgetattr(theirs, &raw)) {
        perror(name);
        exit(3);
    }
    raw.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    raw.c_oflag &= ~(tcflag_t)OPOST;
    raw.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
    tcsetattr(theirs, TCSANOW, &raw);
    fcntl(ours, F_SETFL, O_NONBLOCK);
    unlink(path);
    if (symlink(name, path)) {
        perror(path);
        exit(3);
    }
    say("plugged");
}

static void unplug(void)
{
    if (ours < 0)
        return;
    unlink(path);
    close(theirs);
    close(ours);
    ours = theirs = -1;
    holding = 0;
    say("unplugged");
}

static void start(uint8_t cause)
{
    uint8_t spoilt = device.wrong_config_crc;
    link_start(&device, &device.kept, cause, 0);
    device.wrong_config_crc = spoilt;
    started_ms = now_ms();
    hung_until_ms = 0;
    host_resets_told = 0;
    say("started");
}

/* --- the lamps ------------------------------------------------------------------------------------------------ */

static void switch_lamps(void)
{
    for (int i = 0; i < device.outputs; i++) {
        struct link_output *output = &device.output[i];
        output->measured = fault.stuck[i] == NOT_STUCK ? output->commanded : (uint8_t)fault.stuck[i];
        if (told[i].commanded == output->commanded && told[i].measured == output->measured &&
            told[i].decision_ref == output->decision_ref)
            continue;
        told[i].commanded = output->commanded;
        told[i].measured = output->measured;
        told[i].decision_ref = output->decision_ref;
        printf("{\"at_ms\": %lld, \"event\": \"output\", \"boot\": %lu, \"output\": %d, \"commanded\": \"%s\", "
               "\"measured\": \"%s\", \"decision_ref\": %lu, \"text\": \"%s\"}\n",
               (long long)now_ms(), (unsigned long)device.kept.boot, i, STATE_NAMES[output->commanded],
               STATE_NAMES[output->measured], (unsigned long)output->decision_ref,
               strpbrk(output->text, "\"\\") ? "?" : output->text);
    }
    if (device.host_resets != host_resets_told) {
        host_resets_told = device.host_resets;
        say("host_reset");
    }
}

/* --- the line ------------------------------------------------------------------------------------------------- */

static size_t spoil(uint8_t *data, size_t length)
{
    size_t kept = 0;
    for (size_t i = 0; i < length; i++) {
        carried++;
        if (fault.drop && carried % (unsigned long)fault.drop == 0)
            continue;
        data[kept++] = fault.flip && carried % (unsigned long)fault.flip == 0 ? data[i] ^ 4 : data[i];
    }
    return kept;
}

static void hear(void)
{
    uint8_t data[1024];
    ssize_t count = ours < 0 ? 0 : read(ours, data, sizeof data);
    if (count > 0 && !fault.deaf) {
        size_t length = spoil(data, (size_t)count);
        length = length < HELD_ROOM - holding ? length : HELD_ROOM - holding;
        memcpy(held + holding, data, length);
        holding += length;
    }
    if (!fault.stall && holding) {
        link_feed(&device, held, holding, uptime_ms());
        holding = 0;
    }
}

static void speak(void)
{
    uint8_t data[LINK_SEND_ROOM];
    size_t length = link_take(&device, data, sizeof data);
    if (ours < 0 || fault.mute)
        return;
    length = spoil(data, length);
    if (length && write(ours, data, length) < 0 && errno != EAGAIN)
        perror("write");
}

/* --- faults --------------------------------------------------------------------------------------------------- */

static int is_on(const char *word)
{
    return !strcmp(word, "on") || !strcmp(word, "low");
}

static void hang(int ms)
{
    resets_after_hang = ms >= HANG_RESET_MS;
    hung_until_ms = now_ms() + (resets_after_hang ? HANG_RESET_MS : ms);
}

/* 0 when the device is to end. */
static int obey(const char *line)
{
    char word[16] = "", first[16] = "", rest[LINE_ROOM] = "";
    int fields = sscanf(line, "%15s %15s %127[^\n]", word, first, rest);
    if (fields < 1)
        return 1;
    int number = atoi(first);
    if (!strcmp(word, "quit"))
        return 0;
    if (!strcmp(word, "mute"))
        fault.mute = is_on(first);
    else if (!strcmp(word, "deaf"))
        fault.deaf = is_on(first);
    else if (!strcmp(word, "stall"))
        fault.stall = is_on(first);
    else if (!strcmp(word, "drop"))
        fault.drop = number > 0 ? number : 0;
    else if (!strcmp(word, "flip"))
        fault.flip = number > 0 ? number : 0;
    else if (!strcmp(word, "wrong-config"))
        device.wrong_config_crc = (uint8_t)is_on(first);
    else if (!strcmp(word, "power"))
        device.power_low = (uint8_t)is_on(first);
    else if (!strcmp(word, "reboot"))
        start(LINK_RESET_COMMAND);
    else if (!strcmp(word, "hang"))
        hang(number);
    else if (!strcmp(word, "stuck") && number >= 0 && number < LINK_MAX_OUTPUTS && fields == 3)
        fault.stuck[number] = atoi(rest) > LINK_CLOSED ? NOT_STUCK : atoi(rest);
    else if (!strcmp(word, "sight") && fields == 3)
        link_sight(&device, (uint8_t)number, rest, (uint64_t)time(NULL) * 1000);
    else if (!strcmp(word, "unplug"))
        unplug();
    else if (!strcmp(word, "replug"))
        plug_in();
    else
        fprintf(stderr, "%s: no such fault\n", word);
    return 1;
}

static int read_commands(void)
{
    static char line[LINE_ROOM];
    static size_t length;
    char data[LINE_ROOM];
    ssize_t count = read(STDIN_FILENO, data, sizeof data);
    if (count <= 0)
        return 0;
    for (ssize_t i = 0; i < count; i++) {
        if (data[i] != '\n') {
            if (length < sizeof line - 1)
                line[length++] = data[i];
            continue;
        }
        line[length] = 0;
        length = 0;
        if (!obey(line))
            return 0;
    }
    return 1;
}

static void run(void)
{
    for (;;) {
        struct pollfd watched[2] = { { STDIN_FILENO, POLLIN, 0 }, { ours, POLLIN, 0 } };
        int ready = poll(watched, ours < 0 ? 1 : 2, TICK_MS);
        if (ready < 0 && errno != EINTR)
            return;
        if (ready > 0 && watched[0].revents && !read_commands())
            return;
        if (hung_until_ms) {
            if (now_ms() < hung_until_ms) {
                poll(NULL, 0, 1);
                continue;
            }
            hung_until_ms = 0;
            if (resets_after_hang)
                start(LINK_RESET_WATCHDOG);
        }
        hear();
        link_tick(&device, uptime_ms());
        switch_lamps();
        speak();
    }
}

int main(int count, char **words)
{
    if (count != 2) {
        fprintf(stderr, "usage: %s PATH\n", words[0]);
        return 2;
    }
    path = words[1];
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 0; i < LINK_MAX_OUTPUTS; i++)
        fault.stuck[i] = NOT_STUCK;
    start(LINK_RESET_POWER);
    plug_in();
    run();
    unplug();
    return 0;
}
