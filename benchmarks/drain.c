/*
 * A client that takes what a server streams, and counts it, at next to no cost.
 *
 *     drain PORT CONNECTIONS RATE BYTES SECONDS < request
 *
 * Each of CONNECTIONS connections to 127.0.0.1:PORT sends the bytes of standard input once and reads until
 * BYTES bytes have come. The requests are sent after all connections stand, RATE a second. Prints one
 * JSON object:
 *
 *     {"seconds": …, "done": …, "first": …, "last": …, "bytes": …, "over": …, "broken": …}
 *
 * `done` counts connections that have received BYTES bytes or more, `over` those that have received more,
 * `broken` those that ended before. `first` and `last` are when the first and the last were done, in
 * seconds from the first request. It stops when all are done or broken, or after SECONDS.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 256 << 10, REQUEST_LIMIT = 64 << 10, EVENTS = 256 };

struct connection {
    int fd;
    unsigned long long have;
};

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

static int connect_to(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((unsigned short)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address))
        fail("connect");
    return fd;
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: drain PORT CONNECTIONS RATE BYTES SECONDS < request\n");
        return 2;
    }
    int port = atoi(argv[1]), count = atoi(argv[2]), left = count;
    double rate = atof(argv[3]), seconds = atof(argv[5]);
    unsigned long long wanted = strtoull(argv[4], NULL, 10), bytes = 0;
    double first = 0, last = 0;
    int done = 0, broken = 0, over = 0;
    static char request[REQUEST_LIMIT], buffer[BUFFER];
    signal(SIGPIPE, SIG_IGN);
    size_t length = fread(request, 1, sizeof request, stdin);
    struct connection *connections = calloc((size_t)count, sizeof *connections);
    int epoll = epoll_create1(0);
    if (!connections || epoll < 0)
        fail("drain");
    for (int i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &connections[i]};
        connections[i].fd = connect_to(port);
        if (fcntl(connections[i].fd, F_SETFL, O_NONBLOCK) ||
            epoll_ctl(epoll, EPOLL_CTL_ADD, connections[i].fd, &event))
            fail("socket");
    }

    double start = now(), end = start + seconds, time = start;
    int asked = 0;
    while (time < end && left > 0) {
        struct epoll_event events[EVENTS];
        while (asked < count && asked <= (time - start) * rate)
            if (write(connections[asked++].fd, request, length) != (ssize_t)length)
                fail("write");
        int ready = epoll_wait(epoll, events, EVENTS, asked < count ? 1 : 1000);
        time = now();
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            ssize_t got = read(c->fd, buffer, sizeof buffer);
            if (got < 0 && errno == EAGAIN)
                continue;
            if (got <= 0) {
                broken += c->have < wanted;
                left -= c->have < wanted;
                close(c->fd);
                continue;
            }
            unsigned long long before = c->have;
            c->have += (unsigned long long)got;
            bytes += (unsigned long long)got;
            if (before < wanted && c->have >= wanted) {
                if (!done++)
                    first = time - start;
                last = time - start;
                left--;
            }
            if (before <= wanted && c->have > wanted)
                over++;
        }
    }
    printf("{\"seconds\": %.6f, \"done\": %d, \"first\": %.6f, \"last\": %.6f, \"bytes\": %llu, "
           "\"over\": %d, \"broken\": %d}\n",
           now() - start, done, first, last, bytes, over, broken);
    return 0;
}
