/*
 * The floor: what a fan-out costs when nothing but the kernel is paid.
 *
 * A bare epoll server in one thread. A client that sends a request head becomes a subscriber: it is
 * answered with a fixed 101 (its head asks for an upgrade) or a fixed 200 (it does not), and a fixed
 * `ready` envelope, so that the load generator can treat it as a WebSocket or an SSE server. A client
 * whose first bytes are "FLOOR\n" becomes the control connection. It sends commands
 *
 *     u32 count, then count times: u32 length, length bytes       (little-endian)
 *
 * and for each, every subscriber gets every frame, one write(2) per frame and socket. The answer to a
 * command is u64 writes, u64 refused: how many writes were made, and how many of them the kernel did
 * not take whole (the reader was too slow; the figures of such a run are void).
 *
 * Prints "floor listening on http://127.0.0.1:PORT" once it accepts connections.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_FILES = 1 << 20, HEAD_LIMIT = 4096, COMMAND_LIMIT = 16 << 20, EVENTS = 512 };

#define READY_ENVELOPE "{\"type\":\"ready\",\"id\":\"floor-0\",\"session\":\"floor\",\"recovered\":true,\"channels\":[]}"

static const char UPGRADE_HEAD[] =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: floor\r\n\r\n";
static const char STREAM_HEAD[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    "Transfer-Encoding: chunked\r\n\r\n";
static const char READY_EVENT[] = "id: floor-0\nevent: tidewire.ready\ndata: " READY_ENVELOPE "\n\n";

enum kind { FREE, HEAD, SUBSCRIBER, CONTROL };

struct client {
    enum kind kind;
    int place;         /* index in `subscribers` while it is one */
    size_t have;       /* bytes in `head` */
    char *head;        /* bytes of the request head so far; NULL once it is answered */
};

static struct client *clients; /* indexed by file descriptor */
static int *subscribers, subscriber_count;
static int controller = -1;    /* the newest control connection; an older one is not heard any more */
static unsigned char *command; /* bytes of its command so far */
static size_t command_have;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void drop(int fd)
{
    struct client *client = &clients[fd];
    if (client->kind == SUBSCRIBER) {
        int last = subscribers[--subscriber_count];
        subscribers[client->place] = last;
        clients[last].place = client->place;
    }
    if (fd == controller)
        controller = -1;
    free(client->head);
    memset(client, 0, sizeof *client);
    close(fd);
}

/* Writes one frame to one socket; true when the kernel took it whole. */
static int put(int fd, const void *bytes, size_t length)
{
    return write(fd, bytes, length) == (ssize_t)length;
}

static void send_all(int fd, const unsigned char *frames, uint32_t count)
{
    uint64_t answer[2] = {0, 0};
    for (int i = 0; i < subscriber_count; i++) {
        const unsigned char *at = frames;
        for (uint32_t n = 0; n < count; n++) {
            uint32_t length;
            memcpy(&length, at, sizeof length);
            at += sizeof length;
            answer[0]++;
            answer[1] += !put(subscribers[i], at, length);
            at += length;
        }
    }
    if (!put(fd, answer, sizeof answer))
        drop(fd);
}

/* Runs the command in the buffer if it is whole; returns the bytes it took, 0 when some are missing. */
static size_t run_command(int fd)
{
    uint32_t count, length;
    size_t end = sizeof count;
    if (command_have < end)
        return 0;
    memcpy(&count, command, sizeof count);
    for (uint32_t n = 0; n < count; n++) {
        if (command_have < end + sizeof length)
            return 0;
        memcpy(&length, command + end, sizeof length);
        end += sizeof length + length;
        if (command_have < end)
            return 0;
    }
    send_all(fd, command + sizeof count, count);
    return end;
}

static void run_commands(int fd)
{
    size_t taken;
    while (fd == controller && (taken = run_command(fd)) > 0) {
        command_have -= taken;
        memmove(command, command + taken, command_have);
    }
}

static void read_control(int fd)
{
    if (fd != controller) {
        drop(fd);
        return;
    }
    ssize_t got = read(fd, command + command_have, COMMAND_LIMIT - command_have);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN)
            drop(fd);
        return;
    }
    command_have += (size_t)got;
    run_commands(fd);
}

static void answer_head(int fd, struct client *client)
{
    char answer[1024];
    int length, upgrade = strcasestr(client->head, "\r\nUpgrade: websocket") != NULL;
    if (upgrade)
        length = snprintf(answer, sizeof answer, "%s\x81%c%s", UPGRADE_HEAD,
                          (int)strlen(READY_ENVELOPE), READY_ENVELOPE);
    else
        length = snprintf(answer, sizeof answer, "%s%zx\r\n%s\r\n", STREAM_HEAD,
                          strlen(READY_EVENT), READY_EVENT);
    free(client->head);
    client->head = NULL;
    client->kind = SUBSCRIBER;
    client->place = subscriber_count;
    subscribers[subscriber_count++] = fd;
    if (!put(fd, answer, (size_t)length))
        drop(fd);
}

static void read_head(int fd, struct client *client)
{
    if (!client->head && !(client->head = malloc(HEAD_LIMIT)))
        fail("malloc");
    ssize_t got = read(fd, client->head + client->have, HEAD_LIMIT - 1 - client->have);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN)
            drop(fd);
        return;
    }
    client->have += (size_t)got;
    client->head[client->have] = 0;
    if (!strncmp(client->head, "FLOOR\n", 6)) {
        client->kind = CONTROL;
        controller = fd;
        command_have = client->have - 6;
        memcpy(command, client->head + 6, command_have);
        free(client->head);
        client->head = NULL;
        run_commands(fd); /* a command may have come with the greeting */
    } else if (strstr(client->head, "\r\n\r\n"))
        answer_head(fd, client);
    else if (client->have == HEAD_LIMIT - 1)
        drop(fd);
}

/* A subscriber has nothing to say: what it sends (a close, a pong) is read and forgotten. */
static void read_subscriber(int fd)
{
    char bytes[512];
    ssize_t got = read(fd, bytes, sizeof bytes);
    if (got == 0 || (got < 0 && errno != EAGAIN))
        drop(fd);
}

static void accept_clients(int listener, int epoll)
{
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        if (fd >= MAX_FILES || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) ||
            epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)) {
            close(fd);
            continue;
        }
        clients[fd].kind = HEAD;
    }
}

int main(void)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);

    clients = calloc(MAX_FILES, sizeof *clients);
    subscribers = calloc(MAX_FILES, sizeof *subscribers);
    command = malloc(COMMAND_LIMIT);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), epoll = epoll_create1(0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    if (!clients || !subscribers || !command || listener < 0 || epoll < 0 ||
        bind(listener, (struct sockaddr *)&address, length) || listen(listener, 4096) ||
        getsockname(listener, (struct sockaddr *)&address, &length))
        fail("floor");
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event))
        fail("epoll_ctl");
    printf("floor listening on http://127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);

    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                accept_clients(listener, epoll);
            else if (clients[fd].kind == SUBSCRIBER)
                read_subscriber(fd);
            else if (clients[fd].kind == CONTROL)
                read_control(fd);
            else if (clients[fd].kind == HEAD)
                read_head(fd, &clients[fd]);
        }
    }
}
