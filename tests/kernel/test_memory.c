/* SPDX-License-Identifier: BSD-2-Clause */
/* What redirected bytes do to the receiver's memory, and to what TCP sends it meanwhile: KERNEL-FACTS 12, 12a, 12b.
 *
 * Runs in a network namespace of its own, so that the TcpExt counters are nobody else's.
 */
#define _GNU_SOURCE
#include "kernel_namespace.h"
#include "kernel_rig.h"

#include "datapath_internal.h"

#define STALL_MS 1000
#define TRIES 3
#define RMEM_MAX (6 * 1024 * 1024)
#define GAP_WANTED_MS 100  /* 12a: the retransmission timer has backed off by then */
#define GAP_ALLOWED_MS 250 /* 12b: the timer would come 400 ms after a stall of a second */

/* The namespace's own limit, which the gate must go by whatever the host's is. */
static void set_tcp_rmem(void)
{
	FILE *file = fopen("/proc/sys/net/ipv4/tcp_rmem", "w");

	require(file && fprintf(file, "4096 131072 %d\n", RMEM_MAX) > 0 && fclose(file) == 0);
}

/* A counter of TcpExt in /proc/net/netstat: a line of names, then one of values. */
static uint64_t tcp_counter(const char *wanted)
{
	static char names[16384], values[16384];
	char *name, *value, *name_rest, *value_rest;
	FILE *file = fopen("/proc/self/net/netstat", "r");
	uint64_t result = 0;

	require(file && fgets(names, sizeof(names), file) && fgets(values, sizeof(values), file));
	fclose(file);
	name = strtok_r(names, " \n", &name_rest);
	value = strtok_r(values, " \n", &value_rest);
	for (; name && value; name = strtok_r(NULL, " \n", &name_rest), value = strtok_r(NULL, " \n", &value_rest))
		if (!strcmp(name, wanted))
			result = strtoull(value, NULL, 10);
	return result;
}

static void test_fact_12(void)
{
	unsigned version = kernel_version();
	int counts = datapath_probe_rmem();

	require(counts >= 0);
	printf("# sk_rmem_alloc %s redirected bytes\n", counts ? "includes" : "leaves out");
	if (version >= 0x060c08 || (version >> 8 == 0x601 && (version & 0xff) >= 123))
		check(counts == 1, "fact-12", "rmem-alloc-includes-redirected-bytes", "-");
	else
		skip("fact-12", "rmem-alloc-includes-redirected-bytes", "not known for this kernel");
}

/* Reads until `wanted` bytes came or a second passed without any; the longest wait in *gap_us. */
static uint64_t drain(int fd, uint64_t wanted, uint64_t *gap_us)
{
	static char sink[262144];
	uint64_t bytes = 0;

	*gap_us = 0;
	while (bytes < wanted) {
		uint64_t start = now_ns(), waited;
		ssize_t got;

		if (!readable_within(fd, 3000))
			break;
		waited = (now_ns() - start) / 1000;
		if (waited > *gap_us)
			*gap_us = waited;
		got = recv(fd, sink, sizeof(sink), MSG_DONTWAIT);
		if (got <= 0)
			break;
		bytes += (uint64_t)got;
	}
	return bytes;
}

static uint64_t fill(int fd, uint64_t most)
{
	static char block[65536];
	uint64_t bytes = 0;
	ssize_t taken = 1;

	while (bytes < most && taken > 0) {
		taken = send(fd, block, most - bytes < sizeof(block) ? most - bytes : sizeof(block),
			     MSG_DONTWAIT | MSG_NOSIGNAL);
		if (taken > 0)
			bytes += (uint64_t)taken;
	}
	return bytes;
}

static void stall(void)
{
	nanosleep(&(struct timespec){ .tv_sec = STALL_MS / 1000, .tv_nsec = STALL_MS % 1000 * 1000000 }, NULL);
}

/* 12a: without a bound below the receiver's buffer, passed segments are dropped and the timer backs off. */
static void test_fact_12a(struct rig *rig)
{
	uint64_t pruned = tcp_counter("RcvPruned") + tcp_counter("TCPRcvQDrop");
	uint64_t timeouts = tcp_counter("TCPTimeouts");
	uint64_t bytes, got, gap_us;
	int buffer = 64 * 1024;

	rig_connect_joined(rig);
	require(setsockopt(rig->ends[1], SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer)) == 0);
	rig->control->mode = KERNEL_TEST_REDIRECT;
	bytes = fill(rig->ends[0], 2 << 20);
	rig->control->mode = KERNEL_TEST_PASS;
	bytes += fill(rig->ends[0], 64 << 10);
	stall();
	got = drain(rig->ends[1], bytes, &gap_us);
	pruned = tcp_counter("RcvPruned") + tcp_counter("TCPRcvQDrop") - pruned;
	timeouts = tcp_counter("TCPTimeouts") - timeouts;
	printf("# a gap of %llu us, %llu drops, %llu time-outs\n", (unsigned long long)gap_us,
	       (unsigned long long)pruned, (unsigned long long)timeouts);
	if (datapath_probe_rmem() == 1) {
		check(pruned > 0 && timeouts > 0, "fact-12a", "passed-segments-are-dropped-above-rcvbuf", "%llu, %llu",
		      (unsigned long long)pruned, (unsigned long long)timeouts);
		check(gap_us > GAP_WANTED_MS * 1000, "fact-12a", "and-come-with-the-timer", "%llu us",
		      (unsigned long long)gap_us);
	} else {
		skip("fact-12a", "passed-segments-are-dropped-above-rcvbuf", "redirected bytes are not counted here");
	}
	check(got == bytes, "fact-12a", "but-they-come", "%llu of %llu", (unsigned long long)got,
	      (unsigned long long)bytes);
	rig_close(rig);
}

/* An emulated machine stands still at times; a retransmission is still counted as one. */
static uint64_t gap_allowed_us(void)
{
	return GAP_ALLOWED_MS * 1000 * (getenv("TEST_EMULATED") ? 2 : 1);
}

/* 12b: the real gate, filled to the brim, leaves no such trace. False: the gap alone is too long, as if this thread had no CPU. */
static bool fact_12b_holds(const char *what, int receive_buffer, uint64_t bound, bool last)
{
	const struct datapath_options options = { .slot_count = 1 };
	uint64_t timeouts = tcp_counter("TCPTimeouts"), bytes, got, gap_us;
	const struct sm_direction *direction;
	struct datapath *datapath;
	int ends[2];

	require(datapath_open(&datapath, &options) == 0);
	require(loopback_pair_open(ends) == 0);
	if (receive_buffer)
		require(setsockopt(ends[1], SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer)) == 0);
	require(datapath_probe_arm(datapath, ends) == 0);
	direction = &datapath_slots(datapath, NULL)->direction[0];
	bytes = fill(ends[0], 64 << 20);
	stall();
	got = drain(ends[1], bytes, &gap_us);
	timeouts = tcp_counter("TCPTimeouts") - timeouts;
	if (!last && got == bytes && gap_us >= gap_allowed_us() && timeouts == 0) {
		loopback_pair_close(ends);
		datapath_close(datapath);
		return false;
	}
	check(got == bytes && gap_us < gap_allowed_us() && timeouts == 0, "fact-12b", what,
	      "%llu of %llu, gap %llu us, %llu time-outs", (unsigned long long)got, (unsigned long long)bytes,
	      (unsigned long long)gap_us, (unsigned long long)timeouts);
	check(direction->redirected_bytes <= bound && direction->spills, "fact-12b", "and-kept-its-bound",
	      "%llu of %llu", (unsigned long long)direction->redirected_bytes, (unsigned long long)bound);
	printf("# filled with %llu bytes, %llu of them redirected, %llu spills\n", (unsigned long long)bytes,
	       (unsigned long long)direction->redirected_bytes, (unsigned long long)direction->spills);
	loopback_pair_close(ends);
	datapath_close(datapath);
	return true;
}

static void test_fact_12b(const char *what, int receive_buffer, uint64_t bound)
{
	for (int i = 1; !fact_12b_holds(what, receive_buffer, bound, i == TRIES); i++)
		;
}

int main(void)
{
	struct rig rig;

	alarm(50);
	enter_namespace();
	set_tcp_rmem();
	test_fact_12();
	rig_load(&rig);
	test_fact_12a(&rig);
	rig_unload(&rig);
	test_fact_12b("auto-tuned-receiver-stalls-without-a-time-out", 0, RMEM_MAX - (1 << 20));
	test_fact_12b("locked-256k-receiver-stalls-without-a-time-out", 256 * 1024, 512 * 1024 / 4);
	test_fact_12b("locked-64k-receiver-stalls-without-a-time-out", 64 * 1024, 128 * 1024 / 4);
	return kernel_test_finish();
}
