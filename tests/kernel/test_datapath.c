/* SPDX-License-Identifier: BSD-2-Clause */
/* The data path as it is built, on this kernel: what the gate redirects, what it passes and why. Both ways of reading
 * the peer (bpf_rdonly_cast, bpf_probe_read_kernel) are put through it. */
#define _GNU_SOURCE
#include "kernel_pair.h"
#include "kernel_segments.h"

#include <netinet/in.h>

#include "../../bpf/gate.h"
#include "datapath_internal.h"

#define SLOTS 4
#define SMALL_MESSAGES 20000
#define SMALL_BEHIND 400 /* unread, less than half of what may be */
#define WHOLE_TURNS 60
#define WHOLE_SLACK 2 /* cut by a window that was half as large as the message; pieces are 5 more at the least */

static void test_gate_states(struct datapath *datapath)
{
	struct sm_switches *switches = datapath_switches(datapath);
	struct pair pair;
	int seen;

	pair_arm(datapath, &pair, 0);
	seen = one_message(&pair);
	check(seen == 1, "gate", "armed-redirects", "%d", seen);
	switches->off = 1;
	seen = one_message(&pair);
	check(seen == 0, "gate", "kill-switch-passes", "%d", seen);
	switches->off = 0;
	pair.slot->pins = 1;
	seen = one_message(&pair);
	check(seen == 0, "gate", "pinned-passes", "%d", seen);
	pair.slot->pins = 2;
	seen = one_message(&pair);
	check(seen == 1, "gate", "pin-of-the-other-direction-is-not-ours", "%d", seen);
	pair.slot->pins = 0;
	pair.slot->state = SM_SLOT_JOINED;
	seen = one_message(&pair);
	check(seen == 0, "gate", "joined-only-passes", "%d", seen);
	pair.slot->state = SM_SLOT_ARMED;
	pair.slot->end[1].cookie++;
	seen = one_message(&pair);
	check(seen == 0, "gate", "peer-cookie-mismatch-passes", "%d", seen);
	pair.slot->end[1].cookie--;
	pair.slot->end[0].cookie++;
	seen = one_message(&pair);
	check(seen == 0, "gate", "own-cookie-mismatch-passes", "%d", seen);
	pair.slot->end[0].cookie--;
	pair.slot->end[1].sk += 64;
	seen = one_message(&pair);
	check(seen == 0, "gate", "wrong-peer-address-passes", "%d", seen);
	pair.slot->end[1].sk = 0;
	seen = one_message(&pair);
	check(seen == 0, "gate", "no-peer-address-passes", "%d", seen);
	pair_close(&pair);
}

static void test_gate_generation(struct datapath *datapath)
{
	uint64_t before;
	struct pair pair;
	bool arrived;

	pair_arm(datapath, &pair, 1);
	pair.slot->generation++;
	before = redirected(&pair, 0) + passed(&pair, 0);
	arrived = sent(pair.ends[0], "stale") && received(pair.ends[1], "stale");
	check(arrived && redirected(&pair, 0) + passed(&pair, 0) == before, "gate", "old-generation-passes-uncounted",
	      "-");
	pair_close(&pair);
}

static void test_gate_order(struct datapath *datapath)
{
	struct sm_switches *switches = datapath_switches(datapath);
	struct pair pair;
	bool order;

	pair_arm(datapath, &pair, 0);
	pair.slot->pins = 1;
	require(sent(pair.ends[0], "111"));
	pair.slot->pins = 0;
	require(sent(pair.ends[0], "222"));
	check(pair.slot->direction[0].order_passes == 1, "gate", "unread-passed-bytes-hold-back-redirects", "%llu",
	      (unsigned long long)pair.slot->direction[0].order_passes);
	order = received(pair.ends[1], "111222");
	check(order && one_message(&pair) == 1, "gate", "redirects-again-once-they-are-read", "-");

	switches->test_without = SM_TEST_WITHOUT_ORDER;
	pair.slot->pins = 1;
	require(sent(pair.ends[0], "111"));
	pair.slot->pins = 0;
	require(sent(pair.ends[0], "222"));
	check(received(pair.ends[1], "222111"), "gate", "without-the-sequence-test-it-reorders", "-");
	switches->test_without = 0;
	pair_close(&pair);
}

/* What a redirected message cannot carry: the ACK that a peer waits for whose own messages are held to TCP. */
static void test_gate_owed_ack(struct datapath *datapath)
{
	struct sm_switches *switches = datapath_switches(datapath);
	struct pair pair;
	bool arrived;

	pair_arm(datapath, &pair, 0);
	require(setsockopt(pair.ends[1], IPPROTO_TCP, TCP_QUICKACK, &(int){ 0 }, sizeof(int)) == 0);
	switches->test_bound_bytes = 1;
	arrived = sent(pair.ends[0], "held") && received(pair.ends[1], "held");
	switches->test_bound_bytes = 0;
	arrived = arrived && sent(pair.ends[1], "ack") && received(pair.ends[0], "ack");
	check(arrived && redirected(&pair, 1) == 0, "gate", "an-ack-owed-to-a-held-peer-passes", "%llu",
	      (unsigned long long)redirected(&pair, 1));
	/* Both owe an ACK now, but nobody is held: it does not go on for ever. */
	arrived = sent(pair.ends[0], "free") && received(pair.ends[1], "free");
	check(arrived && redirected(&pair, 0) == 1, "gate", "an-owed-ack-alone-does-not-pass", "%llu",
	      (unsigned long long)redirected(&pair, 0));
	pair_close(&pair);
}

static void test_gate_shutdown(struct datapath *datapath)
{
	struct pair pair;
	bool arrived;

	pair_arm(datapath, &pair, 0);
	require(shutdown(pair.ends[0], SHUT_WR) == 0);
	check(send(pair.ends[0], "x", 1, MSG_NOSIGNAL) < 0 && errno == EPIPE, "gate", "after-shut-wr-epipe", "%s",
	      strerror(errno));
	/* The FIN has left an ACK to be sent, which the first message may take along. */
	arrived = sent(pair.ends[1], "ack") && received(pair.ends[0], "ack");
	arrived = arrived && sent(pair.ends[1], "back") && received(pair.ends[0], "back");
	check(arrived && redirected(&pair, 1) >= 1, "gate", "the-other-half-still-redirects", "%llu",
	      (unsigned long long)redirected(&pair, 1));
	pair_close(&pair);

	pair_arm(datapath, &pair, 0);
	require(shutdown(pair.ends[1], SHUT_RD) == 0);
	arrived = sent(pair.ends[0], "unread");
	check(arrived && redirected(&pair, 0) == 0, "gate", "a-peer-that-shut-rd-is-left-to-tcp", "-");
	pair_close(&pair);
}

/* Fills side 0's direction with 16 KiB messages until one cannot be sent at once; returns the bytes that were taken. */
static uint64_t fill(const struct pair *pair)
{
	static char block[16384];
	uint64_t bytes = 0;
	ssize_t sent_bytes;

	while ((sent_bytes = send(pair->ends[0], block, sizeof(block), MSG_DONTWAIT | MSG_NOSIGNAL)) > 0 &&
	       bytes < 256u << 20)
		bytes += (uint64_t)sent_bytes;
	return bytes;
}

static uint64_t drain(const struct pair *pair, uint64_t wanted)
{
	static char block[65536];
	uint64_t bytes = 0;
	ssize_t got;

	while (bytes < wanted && readable_within(pair->ends[1], 2000) &&
	       (got = recv(pair->ends[1], block, sizeof(block), MSG_DONTWAIT)) > 0)
		bytes += (uint64_t)got;
	return bytes;
}

static void bound_case(struct datapath *datapath, const char *what, int rcvbuf, uint64_t most_redirected)
{
	const struct sm_direction *direction;
	struct pollfd writable = { .events = POLLOUT };
	uint64_t filled, at_full;
	struct pair pair;

	pair_arm(datapath, &pair, 0);
	direction = &pair.slot->direction[0];
	if (rcvbuf)
		require(setsockopt(pair.ends[1], SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof(rcvbuf)) == 0);
	filled = fill(&pair);
	at_full = direction->redirected_bytes;
	writable.fd = pair.ends[0];
	check(at_full <= most_redirected && (at_full || !most_redirected) && direction->spills &&
		      poll(&writable, 1, 0) == 0,
	      "gate", what, "redirected %llu of %llu, at most %llu, spills %llu", (unsigned long long)at_full,
	      (unsigned long long)filled, (unsigned long long)most_redirected, (unsigned long long)direction->spills);
	check(drain(&pair, filled) == filled, "gate", "every-spilled-byte-arrives", "of %llu",
	      (unsigned long long)filled);
	pair_close(&pair);
}

static void test_gate_bound(struct datapath *datapath)
{
	struct sm_switches *switches = datapath_switches(datapath);
	unsigned low, middle, high;
	FILE *file = fopen("/proc/sys/net/ipv4/tcp_rmem", "r");

	require(file && fscanf(file, "%u %u %u", &low, &middle, &high) == 3);
	fclose(file);
	if (high > 1 << 20)
		bound_case(datapath, "auto-tuned-spills-below-tcp-rmem-max", 0, high - (1 << 20));
	bound_case(datapath, "locked-rcvbuf-spills-at-a-quarter", 256 * 1024, 512 * 1024 / 4);
	bound_case(datapath, "small-locked-rcvbuf-never-redirects", 32 * 1024, 0);
	switches->test_bound_bytes = 40000;
	bound_case(datapath, "test-bound-is-an-upper-limit", 0, 40000);
	switches->test_bound_bytes = 0;
}

/* What two page fragments hold (kernel/sending: by themselves they are two segments). */
static void test_passed_whole(struct datapath *datapath)
{
	static const size_t sizes[] = { 3000, 12000, 30000 };
	static char block[30000];
	struct pair pair;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint32_t plain, pinned;
		int ends[2];

		require(loopback_pair_open(ends) == 0);
		plain = segments_of_turns(ends, WHOLE_TURNS, block, sizes[i]);
		loopback_pair_close(ends);
		pair_arm(datapath, &pair, 0);
		pair.slot->pins = 1;
		pinned = segments_of_turns(pair.ends, WHOLE_TURNS, block, sizes[i]);
		check(pinned <= plain + WHOLE_SLACK && passed(&pair, 0) >= WHOLE_TURNS, "pass",
		      "in-as-many-segments-as-plain-tcp", "%zu bytes, %d times: plain %u, pinned %u", sizes[i],
		      WHOLE_TURNS, plain, pinned);
		pair_close(&pair);
	}
}

static bool count_up(int fd, uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i < to; i++)
		if (send(fd, &i, sizeof(i), MSG_DONTWAIT) != sizeof(i))
			return false;
	return true;
}

static bool is_counted_up(int fd, uint32_t from, uint32_t to)
{
	uint32_t number;

	for (uint32_t i = from; i < to; i++)
		if (recv(fd, &number, sizeof(number), MSG_WAITALL | MSG_DONTWAIT) != sizeof(number) || number != i)
			return false;
	return true;
}

/* Each that is unread costs the kernel 1 KiB. */
static void test_gate_small_messages(struct datapath *datapath)
{
	const struct sm_direction *direction;
	bool in_order = true;
	struct pair pair;

	pair_arm(datapath, &pair, 0);
	direction = &pair.slot->direction[0];
	require(count_up(pair.ends[0], 0, SMALL_MESSAGES));
	check(direction->redirected_msgs == GATE_SMALL_UNREAD_MAX && direction->spills == 1 &&
		      direction->redirected_msgs + direction->passed_msgs == SMALL_MESSAGES,
	      "gate", "so-many-small-messages-are-unread", "%llu of %d redirected, %llu spills",
	      (unsigned long long)direction->redirected_msgs, SMALL_MESSAGES, (unsigned long long)direction->spills);
	check(is_counted_up(pair.ends[1], 0, SMALL_MESSAGES) && one_message(&pair) == 1, "gate",
	      "the-rest-passes-in-order", "-");
	require(count_up(pair.ends[0], 0, SMALL_BEHIND));
	for (uint32_t i = SMALL_BEHIND; i < SMALL_MESSAGES; i++)
		in_order = in_order && count_up(pair.ends[0], i, i + 1) &&
			   is_counted_up(pair.ends[1], i - SMALL_BEHIND, i - SMALL_BEHIND + 1);
	check(in_order && direction->spills == 1, "gate", "a-reader-that-is-some-behind-makes-none-spill",
	      "%llu spills", (unsigned long long)direction->spills);
	pair_close(&pair);
}

static void test_facts(struct datapath *datapath)
{
	struct sm_facts facts, gone;
	struct pair pair;
	uint64_t sk;

	pair_arm(datapath, &pair, 2);
	sk = pair.slot->end[1].sk;
	require(sent(pair.ends[0], "abc"));
	require(datapath_inspect(datapath, sk, pair.cookie[1], &facts) == 0);
	check(facts.found && facts.cookie == pair.cookie[1] && facts.psock_refs == 1 && facts.psock_queued &&
		      facts.tcp_state == 1 && facts.blocked_threads == 0,
	      "inspect", "sees-the-queue-and-one-psock-reference", "found %u refs %u queued %u state %u blocked %u",
	      facts.found, facts.psock_refs, facts.psock_queued, facts.tcp_state, facts.blocked_threads);
	require(datapath_inspect(datapath, sk, pair.cookie[0], &gone) == 0);
	check(!gone.found, "inspect", "another-cookie-is-not-found", "-");
	require(datapath_inspect(datapath, 0x1000, 0, &gone) == 0);
	check(!gone.found, "inspect", "a-wild-address-is-not-found", "-");
	check(received(pair.ends[1], "abc"), "inspect", "disturbs-nothing", "-");
	check(datapath_present(datapath, pair.cookie[1]), "present", "while-joined", "-");
	check(datapath_insert(datapath, pair.ends[1], pair.cookie[1], &(struct sm_endref){ .slot = 3 }) == -EBUSY &&
		      one_message(&pair) == 1,
	      "insert", "a-second-time-is-refused-and-harmless", "-");
	check(datapath_remove(datapath, pair.cookie[1]) == 0 && !datapath_present(datapath, pair.cookie[1]) &&
		      datapath_remove(datapath, pair.cookie[1]) == -ENOENT,
	      "remove", "once", "-");
	check(one_message(&pair) == 0, "gate", "no-entry-of-the-peer-passes", "-");
	pair_close(&pair);
	require(datapath_inspect(datapath, sk, pair.cookie[1], &gone) == 0);
	check(!gone.found || gone.tcp_state != 1, "inspect", "a-closed-socket-is-gone", "state %u", gone.tcp_state);
}

/* Fact 12 on kernels of before 6.1.123 / 6.12.8, played here: one message at a time, the rest passes. */
static void test_gate_before_rmem_counts(void)
{
	const struct datapath_options options = { .slot_count = SLOTS, .skip_rmem_probe = true };
	const struct sm_direction *direction;
	struct datapath *datapath;
	struct pair pair;

	require(datapath_open(&datapath, &options) == 0);
	pair_arm(datapath, &pair, 0);
	direction = &pair.slot->direction[0];
	require(sent(pair.ends[0], "one") && sent(pair.ends[0], "two") && sent(pair.ends[0], "three"));
	check(direction->redirected_msgs == 1 && direction->passed_msgs == 2 && direction->spills == 1, "gate",
	      "where-memory-is-not-counted-one-message-at-a-time", "%llu redirected, %llu passed",
	      (unsigned long long)direction->redirected_msgs, (unsigned long long)direction->passed_msgs);
	check(received(pair.ends[1], "onetwothree") && one_message(&pair) == 1, "gate", "and-in-order", "-");
	pair_close(&pair);
	datapath_close(datapath);
}

static void test_all(bool force_probe_read)
{
	const struct datapath_options options = { .slot_count = SLOTS,
						  .pin_dir = pin_dir,
						  .force_probe_read = force_probe_read };
	struct datapath *datapath;
	uint64_t start = now_ns();

	require(datapath_open(&datapath, &options) == 0 && datapath_commit(datapath) == 0);
	printf("# reads the peer with %s; opened in %llu ms\n",
	       datapath_uses_rdonly_cast(datapath) ? "bpf_rdonly_cast" : "bpf_probe_read_kernel",
	       (unsigned long long)(now_ns() - start) / 1000000);
	test_gate_states(datapath);
	test_gate_generation(datapath);
	test_gate_order(datapath);
	test_gate_owed_ack(datapath);
	test_gate_shutdown(datapath);
	test_gate_bound(datapath);
	if (datapath_probe_rmem() == 1)
		test_gate_small_messages(datapath);
	test_passed_whole(datapath);
	test_facts(datapath);
	datapath_close(datapath);
	pins_remove();
}

/* The slower reads are for kernels that have nothing better, and would hide that the verifier refuses the others. */
static void test_loads(int memory_cgroups, bool force_probe_read)
{
	const struct datapath_options options = { .slot_count = 1,
						  .force_probe_read = force_probe_read,
						  .force_memory_cgroups = memory_cgroups };
	const char *names[2][2] = { { "memory-cgroups-1", "memory-cgroups-1-probing" },
				    { "memory-cgroups-2", "memory-cgroups-2-probing" } };
	bool is_cast = !force_probe_read && datapath_probe_rdonly_cast();
	struct datapath *datapath;
	int error = datapath_open(&datapath, &options);

	check(error == 0 && datapath_uses_rdonly_cast(datapath) == is_cast, "load",
	      names[memory_cgroups - 1][force_probe_read], "error %d, or the slower reads", error);
	if (!error)
		datapath_close(datapath);
}

int main(void)
{
	alarm(50);
	pins_name();
	for (int probe_read = 0; probe_read < ways_to_read(); probe_read++) {
		test_loads(1, probe_read);
		test_loads(2, probe_read);
		test_all(probe_read);
	}
	test_gate_before_rmem_counts();
	return kernel_test_finish();
}
