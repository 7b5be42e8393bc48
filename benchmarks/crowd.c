/*
 * A crowd of clients that hold streams of a server, take what comes, and check it.
 *
 *     crowd PORT CHANNEL SOURCE
 *
 * Half of the connections are WebSocket, half Server-Sent Events. They go to 127.0.0.1:PORT from the
 * address 127.0.SOURCE.1, because one address has ports for some 28,000 only. Each follows CHANNEL.
 * It answers pings, and checks that `seq` of the channel goes up by one from message to message, also
 * from one connection of a client to its next.
 *
 * One command a line on standard input, one JSON object a line on standard output when it is done:
 *
 *     open COUNT RATE SECONDS    COUNT clients more, RATE a second (0: at once); done when all are `ready`
 *     drop                       close all connections at once
 *     back RATE SECONDS          connect those again that have no connection, each with its cursor
 *     wait SEQ SECONDS           until every client has the message SEQ
 *     run SECONDS                just that
 *
 *     {"clients": …, "ready": …, "have": …, "begun": …, "first": …, "last": …, "seconds": …, "messages": …,
 *      "missing": …, "repeated": …, "gaps": …, "broken": …, "refused": …}
 *
 * `ready` are the clients whose stream has begun, `have` those that have what was waited for; `first`
 * and `last` are when the first and the last came so far (Unix time in seconds). The counts after `seconds` are
 * of everything since the start. Who is refused, or loses its connection, comes back after the time that
 * the server names (Retry-After), or else within one to two seconds, with its cursor.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

enum { MOST = 19500, BUFFER = 1 << 20, EVENTS = 512, LINE = 256 };
enum state { IDLE, CONNECTING, HEAD, STREAM, READY };

struct client {
    int fd;
    enum state state;
    int websocket;
    size_t kept;          /* bytes of what is not whole yet */
    char *rest;
    char cursor[64];
    unsigned long long seq;
    double at;            /* when its newest message came */
    double due;           /* when an idle one connects again; 0: when it is told to */
};

static struct client clients[MOST];
static int count, ready, have, port, source, epoll;
static unsigned long long messages, missing, repeated, gaps, broken, refused, target;
static double first, last;
static const char *channel;
static char buffer[BUFFER];

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void note(double time)
{
    if (!first || time < first)
        first = time;
    if (time > last)
        last = time;
}

static void leave(struct client *c, double due)
{
    if (c->state == READY)
        ready--;
    if (c->fd >= 0)
        close(c->fd);
    free(c->rest);
    c->rest = NULL;
    c->kept = 0;
    c->fd = -1;
    c->state = IDLE;
    c->due = due;
}

static void start(struct client *c)
{
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET};
    int on = 1;
    from.sin_addr.s_addr = htonl((uint32_t)(0x7f000001 | source << 8));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons((unsigned short)port);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        fail("socket");
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(c->fd, (struct sockaddr *)&from, sizeof from))
        fail("bind");
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS)
        fail("connect");
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event))
        fail("epoll_ctl");
    c->state = CONNECTING;
    c->due = 0;
}

static void ask(struct client *c)
{
    char request[1024];
    int length = snprintf(request, sizeof request,
                          "GET /%s?channels=%s%s%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s\r\n",
                          c->websocket ? "ws" : "sse", channel, *c->cursor ? "&cursor=" : "", c->cursor,
                          port,
                          c->websocket ? "Connection: Upgrade\r\nUpgrade: websocket\r\n"
                                         "Sec-WebSocket-Version: 13\r\n"
                                         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                                       : "Accept: text/event-stream\r\n");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (write(c->fd, request, (size_t)length) != length) {
        broken++;
        leave(c, now() + 1 + drand48());
        return;
    }
    epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
    c->state = HEAD;
}

/* One envelope, as text that ends where it ends or later. */
static void envelope(struct client *c, const char *text, size_t length)
{
    static const char id_key[] = "\"id\":\"", seq_key[] = "\"seq\":";
    const char *id = memmem(text, length, id_key, sizeof id_key - 1);
    if (memmem(text, length, "\"type\":\"gap\"", 12))
        gaps++;
    if (!id || memmem(text, length, "\"type\":\"close\"", 14))
        return;
    id += sizeof id_key - 1;
    const char *end = memchr(id, '"', length - (size_t)(id - text));
    if (!end || (size_t)(end - id) >= sizeof c->cursor)
        return;
    memcpy(c->cursor, id, (size_t)(end - id));
    c->cursor[end - id] = 0;
    if (memmem(text, length, "\"type\":\"ready\"", 14)) {
        if (c->state != READY) {
            c->state = READY;
            ready++;
            if (!target)
                note(now());
        }
        return;
    }
    const char *at = memmem(text, length, seq_key, sizeof seq_key - 1);
    if (!at)
        return;
    unsigned long long seq = strtoull(at + sizeof seq_key - 1, NULL, 10);
    messages++;
    if (c->seq && seq <= c->seq)
        repeated++;
    else if (c->seq && seq > c->seq + 1)
        missing += seq - c->seq - 1;
    if (seq <= c->seq)
        return;
    c->at = now();
    if (target && c->seq < target && seq >= target) {
        have++;
        note(c->at);
    }
    c->seq = seq;
}

/* Whole frames of a WebSocket; returns how many bytes they have. */
static size_t frames(struct client *c, const char *data, size_t length)
{
    size_t at = 0;
    while (length - at >= 2) {
        const unsigned char *head = (const unsigned char *)data + at;
        size_t size = head[1] & 0x7f, begin = 2;
        if (size == 126) {
            if (length - at < 4)
                break;
            size = (size_t)head[2] << 8 | head[3];
            begin = 4;
        } else if (size == 127) {
            if (length - at < 10)
                break;
            size = 0;
            for (int i = 2; i < 10; i++)
                size = size << 8 | head[i];
            begin = 10;
        }
        if (length - at - begin < size)
            break;
        int opcode = head[0] & 0xf;
        if (opcode == 1) {
            envelope(c, data + at + begin, size);
        } else if (opcode == 9 && size <= 125) { /* the mask of its pong is zero */
            unsigned char pong[131] = {0x8a, (unsigned char)(0x80 | size)};
            memcpy(pong + 6, data + at + begin, size);
            if (write(c->fd, pong, size + 6) < 0)
                broken++;
        }
        at += begin + size;
    }
    return at;
}

/* Whole lines of an event stream. */
static size_t lines(struct client *c, const char *data, size_t length)
{
    size_t at = 0;
    const char *end;
    while ((end = memchr(data + at, '\n', length - at))) {
        size_t size = (size_t)(end - data) - at;
        if (size > 5 && !memcmp(data + at, "data:", 5))
            envelope(c, data + at, size);
        at += size + 1;
    }
    return at;
}

static size_t head(struct client *c, const char *data, size_t length)
{
    const char *end = memmem(data, length, "\r\n\r\n", 4);
    if (!end)
        return 0;
    const char *status = c->websocket ? "HTTP/1.1 101" : "HTTP/1.1 200";
    if (memcmp(data, status, 12)) {
        const char *wait = memmem(data, length, "Retry-After: ", 13);
        refused++;
        leave(c, now() + (wait ? atoi(wait + 13) : 1) + drand48());
        return length;
    }
    c->state = STREAM;
    return (size_t)(end - data) + 4;
}

static void receive(struct client *c)
{
    size_t length = c->kept;
    memcpy(buffer, c->rest ? c->rest : "", length);
    ssize_t got = read(c->fd, buffer + length, sizeof buffer - length);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        broken++;
        leave(c, now() + 1 + drand48());
        return;
    }
    length += (size_t)got;
    size_t at = 0;
    if (c->state == HEAD && !(at = head(c, buffer, length)) && length > 16384)
        fail("a head of 16 KiB");
    if (c->state == IDLE)
        return;
    if (c->state >= STREAM)
        at += (c->websocket ? frames : lines)(c, buffer + at, length - at);
    free(c->rest);
    c->kept = length - at;
    c->rest = c->kept ? malloc(c->kept) : NULL;
    if (c->kept)
        memcpy(c->rest, buffer + at, c->kept);
}

/* Have those go on that are due, as many as *most*; returns how many. */
static int start_due(double time, int most)
{
    static int next;
    int started = 0;
    for (int looked = 0; looked < count && started < most; looked++, next = (next + 1) % count) {
        struct client *c = &clients[next % count];
        if (c->state == IDLE && c->due && c->due <= time) {
            start(c);
            started++;
        }
    }
    return started;
}

static void tell(double begun)
{
    printf("{\"clients\": %d, \"ready\": %d, \"have\": %d, \"begun\": %.6f, \"first\": %.6f, \"last\": %.6f, "
           "\"seconds\": %.6f, \"messages\": %llu, \"missing\": %llu, \"repeated\": %llu, \"gaps\": %llu, "
           "\"broken\": %llu, \"refused\": %llu}\n",
           count, ready, have, begun, first, last, now() - begun, messages, missing, repeated, gaps, broken,
           refused);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: crowd PORT CHANNEL SOURCE < commands\n");
        return 2;
    }
    port = atoi(argv[1]);
    channel = argv[2];
    source = atoi(argv[3]);
    signal(SIGPIPE, SIG_IGN);
    srand48(getpid());
    epoll = epoll_create1(0);
    struct epoll_event input = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &input))
        fail("epoll");

    char line[LINE], what[16] = "";
    size_t filled = 0;
    double begun = 0, deadline = 0, rate = 0, swept = 0;
    int to_start = 0, started = 0;
    for (;;) {
        struct epoll_event events[EVENTS];
        int busy = *what != 0;
        int number = epoll_wait(epoll, events, EVENTS, busy ? 5 : 50);
        double time = now();
        for (int i = 0; i < number; i++) {
            struct client *c = events[i].data.ptr;
            if (c) {
                if (c->state == CONNECTING && events[i].events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
                    ask(c);
                else if (c->state >= HEAD)
                    receive(c);
                continue;
            }
            if (busy)
                continue;
            ssize_t got = read(0, line + filled, sizeof line - 1 - filled);
            if (got <= 0)
                return 0;
            filled += (size_t)got;
            line[filled] = 0;
            if (!strchr(line, '\n'))
                continue;
            double a = 0, b = 0, seconds = 0;
            filled = 0;
            sscanf(line, "%15s %lf %lf %lf", what, &a, &b, &seconds);
            begun = time;
            first = last = 0;
            have = to_start = started = 0;
            target = 0;
            rate = 0;
            deadline = begun + 86400;
            if (!strcmp(what, "open")) {
                for (int more = (int)a; more > 0 && count < MOST; more--, count++)
                    clients[count] = (struct client){.fd = -1, .websocket = count & 1, .due = time};
                rate = b;
                deadline = begun + seconds;
            } else if (!strcmp(what, "drop")) {
                for (int index = 0; index < count; index++)
                    leave(&clients[index], 0);
                deadline = begun;
            } else if (!strcmp(what, "back")) {
                for (int index = 0; index < count; index++)
                    if (clients[index].state == IDLE)
                        clients[index].due = time;
                rate = a;
                deadline = begun + b;
            } else if (!strcmp(what, "wait")) {
                target = (unsigned long long)a;
                for (int index = 0; index < count; index++) {
                    if (clients[index].seq < target)
                        continue;
                    have++;
                    note(clients[index].at);
                }
                deadline = begun + b;
            } else if (!strcmp(what, "run")) {
                deadline = begun + a;
            } else {
                fprintf(stderr, "no such command: %s\n", what);
                return 2;
            }
        }
        time = now();
        if (busy && rate > 0)
            started += start_due(time, (int)((time - begun) * rate) - started);
        else if (busy || time - swept > 0.2) {
            start_due(time, 2000);
            swept = time;
        }
        int done = target ? have == count : strcmp(what, "run") && ready == count;
        if (*what && (done || time >= deadline)) {
            tell(begun);
            *what = 0;
        }
    }
}
