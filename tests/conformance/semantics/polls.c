/* SPDX-License-Identifier: BSD-2-Clause */
/* poll, select and SIGIO. */
#include "semantics.h"

#include <sys/select.h>

static void note_select(const char *field, int fd, int timeout_ms)
{
	struct timeval timeout = { .tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000 };
	fd_set readable, writable, exceptional;

	FD_ZERO(&readable);
	FD_ZERO(&writable);
	FD_ZERO(&exceptional);
	FD_SET(fd, &readable);
	FD_SET(fd, &writable);
	FD_SET(fd, &exceptional);
	int result = select(fd + 1, &readable, &writable, &exceptional, &timeout);
	note(field, "%d %d%d%d", result, FD_ISSET(fd, &readable) != 0, FD_ISSET(fd, &writable) != 0,
	     FD_ISSET(fd, &exceptional) != 0);
}

static void readiness(struct pair *pair, int unused)
{
	const short all = POLLIN | POLLOUT | POLLPRI | POLLRDNORM | POLLWRNORM | POLLRDHUP;

	(void)unused;
	note_poll("idle", pair->b, all, 0);
	note_poll("idle-in", pair->b, POLLIN, 20);
	put(pair->a, "hello");
	settle();
	note_poll("data", pair->b, all, 0);
	get("part", pair->b, 2, 0);
	note_poll("rest", pair->b, all, 0);
	get("drain", pair->b, 64, 0);
	note_poll("drained", pair->b, all, 0);
	note_poll("nothing-asked", pair->b, 0, 0);
}

static void selects(struct pair *pair, int unused)
{
	(void)unused;
	note_select("idle", pair->b, 0);
	put(pair->a, "hello");
	settle();
	note_select("data", pair->b, 0);
	get("drain", pair->b, 64, 0);
	note_select("drained", pair->b, 0);
	shutdown(pair->a, SHUT_WR);
	settle();
	note_select("end", pair->b, 0);
	later_reset(0, pair->a);
	later_join();
	settle();
	note_select("reset", pair->b, 0);
}

/* poll sleeps and is woken by: 0 data, 1 the end, 2 a reset, 3 own shutdown */
static void wakes(struct pair *pair, int what)
{
	switch (what) {
	case 0:
		later_put(SOON_MS, pair->a, "hello");
		break;
	case 1:
		later_shutdown(SOON_MS, pair->a, SHUT_WR);
		break;
	case 2:
		later_reset(SOON_MS, pair->a);
		break;
	default:
		later_shutdown(SOON_MS, pair->b, SHUT_RD);
		break;
	}
	note_poll("poll", pair->b, POLLIN | POLLRDHUP, 2000);
	note_poll("poll-again", pair->b, POLLIN, 0);
}

static void full_pipe(struct pair *pair, int unused)
{
	char *sink = malloc(1 << 20);
	uint64_t sent, taken = 0;
	ssize_t moved;

	(void)unused;
	note_poll("at-first", pair->a, POLLOUT, 0);
	sent = fill_pipe(pair->a);
	note("send", "%s", errno_text(errno));
	note("bounded", "%s", sent < (64u << 20) ? "yes" : "no");
	note_poll("full", pair->a, POLLOUT, 30);
	note_poll("reader", pair->b, POLLIN, 0);
	while (taken < sent && (moved = recv(pair->b, sink, 1 << 20, 0)) > 0)
		taken += (uint64_t)moved;
	note("all", "%s", taken == sent ? "yes" : "no");
	note_poll("room", pair->a, POLLOUT, 1000);
	note_poll("reader-after", pair->b, POLLIN, 20);
}

/* A sender in a poll(POLLOUT) loop against a slow reader. */
static void output_loop(struct pair *pair, int unused)
{
	const size_t total = 8 << 20;
	char *buffer = malloc(total);
	size_t sent = 0;

	(void)unused;
	fill(buffer, total, 11);
	fcntl(pair->a, F_SETFL, O_NONBLOCK);
	later_drain(SOON_MS, "received", pair->b, total);
	while (sent < total) {
		struct pollfd poller = { .fd = pair->a, .events = POLLOUT };

		if (poll(&poller, 1, 2000) != 1) {
			note("stalled", "no POLLOUT");
			break;
		}
		ssize_t moved = send(pair->a, buffer + sent, total - sent, 0);
		if (moved < 0 && errno != EAGAIN) {
			note_result("send", moved, errno);
			break;
		}
		sent += moved > 0 ? (size_t)moved : 0;
	}
	note("sent", "%zu", sent);
	later_join();
	free(buffer);
}

static void signal_driven(struct pair *pair, int unused)
{
	(void)unused;
	handle(SIGIO, SA_RESTART);
	TRY("owner", fcntl(pair->b, F_SETOWN, getpid()));
	TRY("async", fcntl(pair->b, F_SETFL, O_ASYNC));
	handled = 0;
	put(pair->a, "hello");
	settle();
	note("after-data", "%s", handled > 0 ? "some" : "none");
	get("data", pair->b, 64, MSG_DONTWAIT);
	handled = 0;
	settle();
	put(pair->a, "again");
	settle();
	note("after-more", "%s", handled > 0 ? "some" : "none");
	get("more", pair->b, 64, MSG_DONTWAIT);
	handled = 0;
	shutdown(pair->a, SHUT_WR);
	settle();
	note("after-end", "%s", handled > 0 ? "some" : "none");
}

static volatile sig_atomic_t band, band_fd;
static void note_band(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	band |= (int)info->si_band;
	band_fd = info->si_fd;
}

static void signal_with_band(struct pair *pair, int unused)
{
	struct sigaction action = { .sa_sigaction = note_band, .sa_flags = SA_SIGINFO | SA_RESTART };

	(void)unused;
	sigaction(SIGRTMIN, &action, NULL);
	fcntl(pair->b, F_SETOWN, getpid());
	TRY("signal", fcntl(pair->b, F_SETSIG, SIGRTMIN));
	TRY("async", fcntl(pair->b, F_SETFL, O_ASYNC));
	band = 0;
	put(pair->a, "hello");
	settle();
	note_events("band", 1, (unsigned)band & (POLLIN | POLLRDNORM), 0);
	note("fd", "%s", band_fd == pair->b ? "right" : "wrong");
}

static const struct semantics_case cases[] = {
	{ "poll-readiness", readiness, 0, 0 }, { "select-readiness", selects, 0, 0 },
	{ "poll-wakes-data", wakes, 0, 0 },    { "poll-wakes-end", wakes, 1, 0 },
	{ "poll-wakes-reset", wakes, 2, 0 },   { "poll-wakes-own-shutdown", wakes, 3, 0 },
	{ "poll-full-pipe", full_pipe, 0, 0 }, { "poll-output-loop", output_loop, 0, 0 },
	{ "sigio", signal_driven, 0, 0 },      { "sigio-band", signal_with_band, 0, 0 },
};
FAMILY(polls);
