/* SPDX-License-Identifier: BSD-2-Clause */
/* Request and response on many connections at once: one epoll client, one request under way on each connection, against
 * one epoll server or, with --port, a memcached. Prints requests a second and the distribution of their durations.
 *   rr [--connections N] [--size BYTES] [--idle N] [--port PORT] [arguments of peers.h]
 * --idle N: the requests are measured first alone, and then again when N more connections have had their turns (and so are
 *   armed, where they may be) and lie idle: "crowded_ratio" is the one median to the other.
 * --port PORT: no server of its own; requests are memcached's "get", values of --size bytes. */
#include "epoll_server.h"

#define EVENTS 256
#define IDLE_TURNS 32
#define WARM_UP_TURNS 48 /* of each connection, on average: time to be armed */
#define REQUEST_BYTES_MAX (64u << 10)

struct request {
	char *bytes;
	size_t length, answer_length;
};

struct client {
	int epoll, connections;
	int *fds;
	size_t *got;        /* of the answer, by fd */
	uint64_t *begun_ns; /* by fd */
	struct request request;
};

static void ask(struct client *client, int fd, uint64_t now)
{
	client->got[fd] = 0;
	client->begun_ns[fd] = now;
	write_message(fd, client->request.bytes, client->request.length);
}

/* True if an answer has come to its end. */
static bool answered(struct client *client, int fd)
{
	static char buffer[REQUEST_BYTES_MAX + 128];
	ssize_t got = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);

	if (got < 0 && errno == EAGAIN)
		return false;
	if (got <= 0)
		die("recv: %zd", got);
	client->got[fd] += (size_t)got;
	if (client->got[fd] > client->request.answer_length) {
		fprintf(stderr, "rr: an answer is too long\n");
		exit(1);
	}
	return client->got[fd] == client->request.answer_length;
}

/* One request under way on each connection until the time is over and `least` were answered; then the last answers come in.
 * Returns how many. */
static size_t play(struct client *client, double seconds, size_t least, struct samples *samples)
{
	uint64_t now = now_ns(), until = now + (uint64_t)(seconds * 1e9);
	struct epoll_event events[EVENTS];
	size_t count = 0;
	int open = client->connections;

	for (int i = 0; i < client->connections; i++)
		ask(client, client->fds[i], now_ns());
	while (open > 0) {
		int ready = must(epoll_wait(client->epoll, events, EVENTS, -1));

		for (int i = 0; i < ready; i++) {
			int fd = events[i].data.fd;

			if (!answered(client, fd))
				continue;
			now = now_ns();
			if (samples)
				samples_add(samples, now - client->begun_ns[fd]);
			count++;
			if (now < until || count < least)
				ask(client, fd, now);
			else
				open--;
		}
	}
	return count;
}

static void turns(int fd, const struct request *request, int count)
{
	static char answer[REQUEST_BYTES_MAX];

	while (count-- > 0) {
		write_message(fd, request->bytes, request->length);
		if (!read_message(fd, answer, request->length))
			exit(1);
	}
}

/* Connections that have had their turns, all together, round by round: a server that answers late finds the next round. */
static int *open_idle(const struct peers *peers, const struct request *request, int count)
{
	int *fds = allocate((size_t)count + 1, sizeof(*fds));

	for (int i = 0; i < count; i++) {
		fds[i] = peers_connect(peers);
		turns(fds[i], request, IDLE_TURNS / 2);
	}
	for (int i = 0; i < count; i++)
		turns(fds[i], request, IDLE_TURNS / 2);
	return fds;
}

static struct request echo_request(size_t size)
{
	return (struct request){ .bytes = allocate(1, size), .length = size, .answer_length = size };
}

/* Stores the value; what asks for it. */
static struct request memcached_request(const struct peers *peers, size_t size)
{
	struct request request = { .bytes = allocate(1, size + 128) };
	char header[64], stored[8];
	int fd = peers_connect(peers), used = sprintf(request.bytes, "set smaccel 0 0 %zu\r\n", size);

	memset(request.bytes + used, 'v', size);
	memcpy(request.bytes + used + size, "\r\n", 2);
	write_message(fd, request.bytes, (size_t)used + size + 2);
	if (!read_message(fd, stored, sizeof(stored)) || memcmp(stored, "STORED\r\n", sizeof(stored))) {
		fprintf(stderr, "rr: memcached does not store\n");
		exit(1);
	}
	must(close(fd));
	request.length = (size_t)sprintf(request.bytes, "get smaccel\r\n");
	request.answer_length = (size_t)sprintf(header, "VALUE smaccel 0 %zu\r\n", size) + size + strlen("\r\nEND\r\n");
	return request;
}

static struct client client_open(const struct peers *peers, struct request request, int connections)
{
	size_t fds = (size_t)connections + 64;
	struct client client = { .epoll = must(epoll_create1(EPOLL_CLOEXEC)),
				 .connections = connections,
				 .request = request };

	client.fds = allocate((size_t)connections, sizeof(*client.fds));
	client.got = allocate(fds, sizeof(*client.got));
	client.begun_ns = allocate(fds, sizeof(*client.begun_ns));
	for (int i = 0; i < connections; i++) {
		int fd = peers_connect(peers);

		if ((size_t)fd >= fds)
			exit(2);
		client.fds[i] = fd;
		epoll_add(client.epoll, fd, EPOLLIN);
	}
	return client;
}

/* A server that somebody else has started on this host. */
static struct peers peers_elsewhere(int argc, char **argv, int port_h)
{
	struct peers peers = { .seconds = argument(argc, argv, "seconds", 1),
			       .warm_up = argument(argc, argv, "warm-up", 0.1) };

	bound_lifetime(peers.seconds + peers.warm_up + 10);
	pin_to_cpu((int)argument(argc, argv, "client-cpu", 0));
	peers.length = loopback_address("127.0.0.1", (unsigned)port_h, &peers.address);
	return peers;
}

static double median_of(struct samples *samples)
{
	samples_sort(samples);
	return (double)samples_at(samples, 0.5);
}

int main(int argc, char **argv)
{
	int port_h = (int)argument(argc, argv, "port", 0), idle = (int)argument(argc, argv, "idle", 0), *idle_fds;
	struct samples alone = { .ns = NULL }, samples = { .ns = allocate(SAMPLES_MAX, sizeof(uint64_t)) };
	size_t size = (size_t)argument(argc, argv, "size", 64), count, all;
	struct client client;
	struct peers peers;
	uint64_t begin, elapsed;

	if (!size || size > REQUEST_BYTES_MAX)
		return 2;
	if (peers_control(argc, argv) >= 0)
		return epoll_serve(argc, argv);
	peers = port_h ? peers_elsewhere(argc, argv, port_h) : peers_start(argc, argv, 60);
	client = client_open(&peers, port_h ? memcached_request(&peers, size) : echo_request(size),
			     (int)argument(argc, argv, "connections", 1));
	all = play(&client, peers.warm_up, (size_t)client.connections * WARM_UP_TURNS, NULL);
	if (idle) {
		alone.ns = allocate(SAMPLES_MAX, sizeof(*alone.ns));
		all += play(&client, peers.seconds, 0, &alone);
		idle_fds = open_idle(&peers, &client.request, idle);
		all += (size_t)idle * IDLE_TURNS;
	}
	begin = now_ns();
	count = play(&client, peers.seconds, 0, &samples);
	elapsed = now_ns() - begin;
	for (int i = 0; i < client.connections; i++)
		must(close(client.fds[i]));
	for (int i = 0; i < idle; i++)
		must(close(idle_fds[i]));
	if (!port_h)
		peers_stop(&peers);
	printf("{\"per_second\": %.1f, \"cpu_ns\": %.1f, ", (double)count * 1e9 / (double)elapsed,
	       peers_cpu_ns((double)(all + count)));
	if (idle)
		printf("\"crowded_ratio\": %.4f, ", median_of(&samples) / median_of(&alone));
	samples_print(&samples);
	printf("}\n");
	return 0;
}
