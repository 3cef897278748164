/* SPDX-License-Identifier: BSD-2-Clause */
/* The self-test: what this kernel does with a joined socket, shown on a loopback connection of our own.
 *
 * Each check leaves both queues of the connection empty, so that their order does not matter; a check that cannot do
 * that is the last one. The first one that is refused, or cannot be tried, ends the run: what follows would stand on nothing.
 */
#define _GNU_SOURCE
#include "selftest.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#include "datapath_internal.h"
#include "loopback.h"
#include "wire/protocol.h"

#define PATIENCE_MS 1000
#define WAKE_UPS_MAX 1000

struct selftest {
	struct datapath *datapath;
	struct datapath *own; /* of which it is the same, or NULL: the caller's */
	struct sm_slot *slot;
	int ends[2]; /* everything is sent from end 0 to end 1 */
	uint32_t features;
	char *detail; /* of the check that runs: SELFTEST_DETAIL_BYTES */
	int error;    /* of the one that could not be tried */
};

__attribute__((format(printf, 3, 4))) static enum selftest_outcome say(struct selftest *self,
								       enum selftest_outcome outcome,
								       const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(self->detail, SELFTEST_DETAIL_BYTES, format, arguments);
	va_end(arguments);
	return outcome;
}

/* A call that failed: the kernel cannot do it, or something to try it with was not to be had. */
static enum selftest_outcome say_failed(struct selftest *self, const char *what, int error)
{
	if (datapath_is_kernels_fault(error))
		return say(self, SELFTEST_REFUSED, "%s: %s", what, strerror(-error));
	self->error = error;
	return say(self, SELFTEST_NOT_TRIED, "%s: %s", what, strerror(-error));
}

/* ---- small steps ---- */

static bool send_text(struct selftest *self, const char *text)
{
	return send(self->ends[0], text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)strlen(text);
}

/* Sends through TCP: passes because the direction is pinned for this one message. */
static bool pass_text(struct selftest *self, const char *text)
{
	bool sent;

	self->slot->pins = 1;
	sent = send_text(self, text);
	self->slot->pins = 0;
	return sent;
}

static bool wait_readable(const struct selftest *self)
{
	struct pollfd entry = { .fd = self->ends[1], .events = POLLIN };

	return poll(&entry, 1, PATIENCE_MS) == 1;
}

/* Whether what comes next is `text`, over however many reads. */
static bool receive_text(const struct selftest *self, const char *text)
{
	size_t wanted = strlen(text), have = 0;
	char buffer[64];

	while (have < wanted && wanted <= sizeof(buffer) && wait_readable(self)) {
		ssize_t bytes = recv(self->ends[1], buffer + have, wanted - have, MSG_DONTWAIT);

		if (bytes <= 0)
			break;
		have += (size_t)bytes;
	}
	return have == wanted && !memcmp(buffer, text, wanted);
}

static int inspect_receiver(const struct selftest *self, struct sm_facts *facts)
{
	return datapath_inspect(self->datapath, self->slot->end[1].sk, self->slot->end[1].cookie, facts);
}

static void pause_millisecond(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

/* ---- the checks ---- */

static enum selftest_outcome check_redirect(struct selftest *self)
{
	struct sm_direction *direction = &self->slot->direction[0];
	bool arrived = send_text(self, "one") && send_text(self, "two") && receive_text(self, "onetwo");

	if (!arrived || direction->redirected_msgs != 2 || direction->passed_msgs)
		return say(self, SELFTEST_REFUSED, "%s; %llu redirected, %llu passed",
			   arrived ? "not redirected" : "bytes lost or mixed up",
			   (unsigned long long)direction->redirected_msgs, (unsigned long long)direction->passed_msgs);
	return say(self, SELFTEST_HOLDS, "two messages redirected, in order");
}

static enum selftest_outcome check_order(struct selftest *self)
{
	struct sm_direction *direction = &self->slot->direction[0];
	uint64_t held_back = direction->order_passes;

	if (!pass_text(self, "one") || !send_text(self, "two") || !receive_text(self, "onetwo"))
		return say(self, SELFTEST_REFUSED, "a message overtook passed bytes");
	if (direction->order_passes != held_back + 1)
		return say(self, SELFTEST_REFUSED, "the gate did not see the unread bytes");
	return say(self, SELFTEST_HOLDS, "no redirect while passed bytes are unread");
}

static enum selftest_outcome check_inspect(struct selftest *self)
{
	struct sm_facts facts = {}, other = {};
	int error = inspect_receiver(self, &facts);

	if (!error)
		error = datapath_inspect(self->datapath, self->slot->end[1].sk, self->slot->end[0].cookie, &other);
	if (error)
		return say_failed(self, "the facts of a socket", error);
	if (!facts.found || facts.cookie != self->slot->end[1].cookie || other.found || facts.psock_refs != 1 ||
	    facts.psock_queued || !facts.netns_cookie)
		return say(self, SELFTEST_REFUSED, "found %u, other %u, psock references %u, queued %u", facts.found,
			   other.found, facts.psock_refs, facts.psock_queued);
	return say(self, SELFTEST_HOLDS, "facts of a socket by its address, one psock reference when idle");
}

static enum selftest_outcome check_peer_reads(struct selftest *self)
{
	if (datapath_uses_rdonly_cast(self->datapath))
		return say(self, SELFTEST_HOLDS, "the peer is read with bpf_rdonly_cast");
	return say(self, SELFTEST_WORKED_AROUND,
		   "no bpf_rdonly_cast: bpf_probe_read_kernel, some 150 ns more a message");
}

/* Constants of the connection that name it beyond its addresses. Under traffic a sample may be torn; this is idle. */
static enum selftest_outcome check_pair_proof(struct selftest *self)
{
	struct sm_facts facts[2];
	uint32_t sent_initial[2], recv_initial[2], there, back;
	int error = 0;

	for (int i = 0; i < 2 && !error; i++) {
		error = datapath_inspect(self->datapath, self->slot->end[i].sk, self->slot->end[i].cookie, &facts[i]);
		sent_initial[i] = (uint32_t)(facts[i].snd_una - facts[i].bytes_acked);
		recv_initial[i] = (uint32_t)(facts[i].rcv_nxt - facts[i].bytes_received);
	}
	if (error)
		return say_failed(self, "the facts of both ends", error);
	there = recv_initial[1] - sent_initial[0];
	back = recv_initial[0] - sent_initial[1];
	if (there + back != 1 || there > 1)
		return say(self, SELFTEST_REFUSED, "sequence numbers differ by (%u,%u) instead of (1,0)", there, back);
	return say(self, SELFTEST_HOLDS, "initial sequence numbers match: (%u,%u)", there, back);
}

/* A wake-up without data ends a receive of a joined end with EAGAIN, whatever it was (fact 4). */
static void *sleep_in_recv(void *argument)
{
	const struct selftest *self = argument;
	char byte;

	for (int i = 0; i < WAKE_UPS_MAX && recv(self->ends[1], &byte, 1, 0) < 0 && errno == EAGAIN; i++)
		;
	return NULL;
}

static enum selftest_outcome check_blocked_threads(struct selftest *self)
{
	struct sm_facts facts = {};
	uint32_t seen = 0, after = 1;
	pthread_t thread;
	int error;

	error = inspect_receiver(self, &facts);
	if (error)
		return say_failed(self, "the facts of a socket", error);
	if (facts.blocked_threads)
		return say(self, SELFTEST_REFUSED,
			   "no address of woken_wake_function (CAP_SYSLOG? kernel.kptr_restrict?)");
	error = pthread_create(&thread, NULL, sleep_in_recv, self);
	if (error)
		return say_failed(self, "no thread to try with", -error);
	for (int i = 0; i < PATIENCE_MS && !error && !seen; i++) {
		pause_millisecond();
		error = inspect_receiver(self, &facts);
		seen = facts.blocked_threads;
	}
	if (!send_text(self, "x")) /* wakes it; the shutdown makes sure of it */
		shutdown(self->ends[1], SHUT_RD);
	pthread_join(thread, NULL);
	if (!error && !inspect_receiver(self, &facts))
		after = facts.blocked_threads;
	if (error || seen != 1 || after)
		return say(self, SELFTEST_REFUSED, "a thread asleep in recv counted as %u, then %u", seen, after);
	return say(self, SELFTEST_HOLDS, "a thread asleep in recv is seen, and that it left");
}

static enum selftest_outcome check_rmem(struct selftest *self)
{
	struct sm_facts facts = {};
	int error;

	if (!send_text(self, "0123456789"))
		return say(self, SELFTEST_REFUSED, "cannot send");
	error = inspect_receiver(self, &facts);
	if (!receive_text(self, "0123456789"))
		return say(self, SELFTEST_REFUSED, "bytes lost");
	if (error)
		return say_failed(self, "the facts of a socket", error);
	if (facts.rmem_alloc >= 10)
		return say(self, SELFTEST_HOLDS, "sk_rmem_alloc includes redirected bytes");
	return say(self, SELFTEST_WORKED_AROUND, "sk_rmem_alloc leaves redirected bytes out: one message at a time");
}

static enum selftest_outcome check_fionread(struct selftest *self)
{
	int of_psock = -1, of_tcp = -1;

	if (!send_text(self, "redirected") || ioctl(self->ends[1], FIONREAD, &of_psock) < 0 ||
	    !receive_text(self, "redirected"))
		return say(self, SELFTEST_REFUSED, "cannot be asked: %s", strerror(errno));
	if (!pass_text(self, "passed") || !wait_readable(self) || ioctl(self->ends[1], FIONREAD, &of_tcp) < 0 ||
	    !receive_text(self, "passed"))
		return say(self, SELFTEST_REFUSED, "cannot be asked: %s", strerror(errno));
	if (of_tcp == 6)
		self->features |= WIRE_FEATURE_FIONREAD_COUNTS_TCP;
	if (of_psock == 10)
		self->features |= WIRE_FEATURE_FIONREAD_COUNTS_PSOCK;
	if (of_tcp == 6 && of_psock == 10)
		return say(self, SELFTEST_HOLDS, "FIONREAD counts both queues");
	if (of_tcp != 6 && of_psock != 10)
		return say(self, SELFTEST_WORKED_AROUND, "FIONREAD counts nothing");
	return say(self, SELFTEST_WORKED_AROUND, "FIONREAD counts %s bytes only",
		   of_psock == 10 ? "redirected" : "passed");
}

/* ---- by plain TCP: a window that is clamped while it is shut ---- */

static bool is_shut(int sender)
{
	struct tcp_info information = {};
	socklen_t length = sizeof(information);

	return !getsockopt(sender, IPPROTO_TCP, TCP_INFO, &information, &length) && !information.tcpi_snd_wnd;
}

static void fill(int fd)
{
	static const char block[4096];

	while (send(fd, block, sizeof(block), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		;
}

static void drain(int fd)
{
	char sink[4096];

	while (recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
		;
}

/* Buffers so small shut the window at once. Once they are drained the receiver says that there is room. */
static bool opens_again(const int ends[2])
{
	const int buffer = 4096, clamp = 4096;

	if (setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer)) ||
	    setsockopt(ends[1], SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer)))
		return false;
	for (int i = 0; i < PATIENCE_MS && !is_shut(ends[0]); i++) {
		fill(ends[0]);
		pause_millisecond();
	}
	if (!is_shut(ends[0]) || setsockopt(ends[1], IPPROTO_TCP, TCP_WINDOW_CLAMP, &clamp, sizeof(clamp)))
		return false;
	for (int i = 0; i < PATIENCE_MS && is_shut(ends[0]); i++) {
		drain(ends[1]);
		pause_millisecond();
	}
	return !is_shut(ends[0]);
}

/* "tcp: fix mid stream window clamp" of Linux 6.7, which older ones may have as well: without it the window stays shut for ever. */
static enum selftest_outcome check_clamp(struct selftest *self)
{
	int ends[2] = { -1, -1 };
	bool opens = !loopback_pair_open(ends) && opens_again(ends);

	loopback_pair_close(ends);
	if (!opens)
		return say(self, SELFTEST_WORKED_AROUND,
			   "a window that is clamped while it is shut stays so: none is clamped");
	self->features |= WIRE_FEATURE_CLAMP;
	return say(self, SELFTEST_HOLDS, "a window that is clamped while it is shut opens again");
}

/* ---- the run ---- */

static enum selftest_outcome check_programs(struct selftest *self)
{
	const struct datapath_options options = { .slot_count = 1 };
	int error = self->datapath ? 0 : datapath_open(&self->own, &options);

	if (error)
		return say_failed(self, "the BPF programs did not load", error);
	if (self->own)
		self->datapath = self->own;
	self->slot = datapath_slots(self->datapath, NULL);
	error = datapath_probe_arm(self->datapath, self->ends);
	if (error)
		return say_failed(self, "the sockets did not join", error);
	return say(self, SELFTEST_HOLDS, "loaded, both ends joined");
}

static const struct {
	const char *name;
	const char *fact;
	enum selftest_outcome (*run)(struct selftest *self);
} checks[] = {
	{ "programs", "17", check_programs }, /* first: the others need it */
	{ "redirect", "13", check_redirect },
	{ "order", "1", check_order },
	{ "inspect", "19a", check_inspect },
	{ "pair-proof", "proof", check_pair_proof },
	{ "blocked-threads", "19b", check_blocked_threads },
	{ "peer-reads", "cast", check_peer_reads },
	{ "receive-memory", "12", check_rmem },
	{ "fionread", "6", check_fionread },
	{ "window-clamp", "12b", check_clamp },
};
_Static_assert(sizeof(checks) / sizeof(checks[0]) <= SELFTEST_RESULTS_MAX, "room for all");

int selftest_run(struct datapath *datapath, struct selftest_result *results, size_t capacity, uint32_t *features)
{
	struct selftest self = { .datapath = datapath, .ends = { -1, -1 } };
	char discarded[SELFTEST_DETAIL_BYTES];
	size_t count = 0, total = sizeof(checks) / sizeof(checks[0]);
	enum selftest_outcome outcome = SELFTEST_HOLDS;
	int error = loopback_pair_open(self.ends);

	*features = 0;
	if (error)
		return error;
	for (size_t i = 0; i < total && outcome < SELFTEST_REFUSED; i++) {
		struct selftest_result *result = count < capacity ? &results[count++] : NULL;

		self.detail = result ? result->detail : discarded;
		outcome = checks[i].run(&self);
		if (result) {
			result->name = checks[i].name;
			result->fact = checks[i].fact;
			result->outcome = outcome;
			result->error = self.error;
		}
	}
	*features = self.features;
	loopback_pair_close(self.ends); /* before the maps: unread bytes go with the sockets */
	if (self.slot && !self.own)
		memset(self.slot, 0, sizeof(*self.slot)); /* as it was: no socket is left that names it */
	datapath_close(self.own);
	return (int)count;
}
