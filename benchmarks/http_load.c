/*
 * A closed-loop HTTP/1.1 client that costs far less than the servers it loads.
 *
 *     http_load PORT CONNECTIONS SECONDS < request
 *
 * Each of CONNECTIONS keep-alive connections to 127.0.0.1:PORT sends the bytes of standard input, waits
 * for the whole answer, and sends them again, for SECONDS. Prints one JSON object:
 *
 *     {"seconds": …, "answers": …, "bytes": …, "statuses": {"200": …}, "broken": …}
 *
 * `answers` counts whole answers, `broken` connections that ended or whose answer could not be read.
 * An answer needs a Content-Length (or a status without a body): chunked ones count as broken, because
 * reading them would cost the client more, and no server measured here sends them.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 64 << 10, REQUEST_LIMIT = 8 << 20, EVENTS = 256 };

struct connection {
    int fd;
    size_t sent;      /* bytes of the request that the kernel has taken */
    size_t have;      /* bytes of the answer's head in `buffer` */
    size_t body_left; /* bytes of the answer's body still to come */
    int in_body;
    char *buffer;
};

static char *request;
static size_t request_length;
static unsigned long long answers, bytes, broken, statuses[600];
static int epoll, open_connections;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void watch(struct connection *c, int operation, unsigned events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll, operation, c->fd, &event))
        fail("epoll_ctl");
}

static void give_up(struct connection *c)
{
    broken++;
    open_connections--;
    close(c->fd);
    c->fd = -1;
}

/* Sends what is left of the request; watches for room only while the kernel has none.
   `waited` says that this connection was watched for room. */
static void send_request(struct connection *c, int waited)
{
    while (c->sent < request_length) {
        ssize_t put = write(c->fd, request + c->sent, request_length - c->sent);
        if (put < 0 && errno == EAGAIN) {
            watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            return;
        }
        if (put < 0) {
            give_up(c);
            return;
        }
        c->sent += (size_t)put;
    }
    if (waited)
        watch(c, EPOLL_CTL_MOD, EPOLLIN);
}

static void finish_answer(struct connection *c)
{
    answers++;
    c->in_body = 0;
    c->have = 0;
    c->sent = 0;
    send_request(c, 0);
}

/* Reads status and length from a whole head that ends at `end`; false when it cannot. */
static int read_head(struct connection *c, char *end)
{
    int status;
    if (sscanf(c->buffer, "HTTP/1.1 %3d", &status) != 1 || status < 100 || status > 599)
        return 0;
    statuses[status]++;
    c->body_left = 0;
    if (status != 204 && status != 304) {
        *end = 0;
        char *field = strcasestr(c->buffer, "\r\nContent-Length:");
        if (!field)
            return 0;
        c->body_left = strtoul(field + 17, NULL, 10);
    }
    return 1;
}

static void receive(struct connection *c)
{
    ssize_t got = read(c->fd, c->buffer + c->have, BUFFER - 1 - c->have);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        give_up(c);
        return;
    }
    bytes += (unsigned long long)got;
    size_t body = (size_t)got;
    if (!c->in_body) {
        c->have += (size_t)got;
        c->buffer[c->have] = 0;
        char *end = strstr(c->buffer, "\r\n\r\n");
        if (!end) {
            if (c->have == BUFFER - 1)
                give_up(c);
            return;
        }
        body = c->have - (size_t)(end + 4 - c->buffer);
        if (!read_head(c, end)) {
            give_up(c);
            return;
        }
        c->in_body = 1;
        c->have = 0;
    }
    if (body > c->body_left) {
        give_up(c); /* more than was asked for: the answers cannot be told apart */
        return;
    }
    c->body_left -= body;
    if (c->body_left == 0)
        finish_answer(c);
}

static void connect_to(int port, struct connection *c)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((unsigned short)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    c->buffer = malloc(BUFFER);
    if (c->fd < 0 || !c->buffer || connect(c->fd, (struct sockaddr *)&address, sizeof address))
        fail("connect");
    if (setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) ||
        fcntl(c->fd, F_SETFL, O_NONBLOCK)) /* only now: connecting may wait */
        fail("socket");
    open_connections++;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: http_load PORT CONNECTIONS SECONDS < request\n");
        return 2;
    }
    int port = atoi(argv[1]), count = atoi(argv[2]);
    double seconds = atof(argv[3]);
    signal(SIGPIPE, SIG_IGN);
    request = malloc(REQUEST_LIMIT);
    struct connection *connections = calloc((size_t)count, sizeof *connections);
    epoll = epoll_create1(0);
    if (!request || !connections || epoll < 0)
        fail("http_load");
    request_length = fread(request, 1, REQUEST_LIMIT, stdin);
    for (int i = 0; i < count; i++) {
        connect_to(port, &connections[i]);
        watch(&connections[i], EPOLL_CTL_ADD, EPOLLIN);
    }

    double start = now(), end = start + seconds, time = start;
    for (int i = 0; i < count; i++)
        send_request(&connections[i], 0);
    while (time < end && open_connections > 0) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(epoll, events, EVENTS, (int)((end - time) * 1000) + 1);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT)
                send_request(c, 1);
            if (c->fd >= 0 && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                receive(c);
        }
        time = now();
    }

    printf("{\"seconds\": %.6f, \"answers\": %llu, \"bytes\": %llu, \"broken\": %llu, \"statuses\": {",
           time - start, answers, bytes, broken);
    const char *comma = "";
    for (int status = 0; status < 600; status++)
        if (statuses[status]) {
            printf("%s\"%d\": %llu", comma, status, statuses[status]);
            comma = ", ";
        }
    printf("}}\n");
    return 0;
}
