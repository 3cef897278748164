/* SPDX-License-Identifier: BSD-2-Clause */
/* What meets bytes that wait: options and calls that need plain TCP, ends of a connection, and calls that no wrapper sees. */
#include "semantics.h"

#include <limits.h>

#include <linux/bpf.h>
#include <linux/filter.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "../../../preload/raw_syscall.h"

#ifndef TCP_ZEROCOPY_RECEIVE
#define TCP_ZEROCOPY_RECEIVE 35
#endif

/* Segments with a signature that the peer does not expect, and without one that is expected, do not arrive. argument 1: bytes are
 * unread */
static int set_key(const struct pair *pair, uint16_t bytes)
{
	struct tcp_md5sig key = { .tcpm_keylen = bytes, .tcpm_key = "secret" };
	socklen_t length = sizeof(key.tcpm_addr);

	getpeername(pair->a, (struct sockaddr *)&key.tcpm_addr, &length);
	return setsockopt(pair->a, IPPROTO_TCP, TCP_MD5SIG, &key, sizeof(key));
}

static void signatures(struct pair *pair, int unread)
{
	if (unread)
		put(pair->a, "unread");
	settle();
	int result = (int)TRY("set", set_key(pair, 6));
	if (unread)
		get("unread", pair->b, 64, MSG_DONTWAIT);
	if (result == 0) {
		TRY("send", send(pair->a, "signed", 6, 0));
		note_poll("not-yet", pair->b, POLLIN, 60);
		TRY("unset", set_key(pair, 0));
		note_poll("now", pair->b, POLLIN, 3000);
		get("data", pair->b, 64, MSG_DONTWAIT);
	}
	round_trip("trip", pair);
}

static void repair_unread(struct pair *pair, int unused)
{
	(void)unused;
	put(pair->a, "unread");
	settle();
	if (TRY("on", set_int(pair->b, IPPROTO_TCP, TCP_REPAIR, 1)) == 0)
		TRY("off", set_int(pair->b, IPPROTO_TCP, TCP_REPAIR, 0));
	get("data", pair->b, 64, MSG_DONTWAIT);
	round_trip("trip", pair);
}

/* A filter that drops everything, by instructions of either kind: what is there stays, what comes later does not arrive. */
static int attach_bpf(int fd)
{
	struct bpf_insn drop_all[] = { { .code = BPF_ALU64 | BPF_MOV | BPF_K }, { .code = BPF_JMP | BPF_EXIT } };
	union bpf_attr attributes = { .prog_type = BPF_PROG_TYPE_SOCKET_FILTER,
				      .insns = (uintptr_t)drop_all,
				      .insn_cnt = 2,
				      .license = (uintptr_t) "GPL" };
	int program = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof(attributes));

	return program < 0 ? -1 : setsockopt(fd, SOL_SOCKET, SO_ATTACH_BPF, &program, sizeof(program));
}

static int attach_classic(int fd)
{
	struct sock_filter drop_all = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog program = { 1, &drop_all };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

enum filter_bits { FILTER_BPF = 1, FILTER_UNREAD = 2 };

static void filtered(struct pair *pair, int how)
{
	if (how & FILTER_UNREAD)
		put(pair->a, "unread");
	settle();
	TRY("attach", how & FILTER_BPF ? attach_bpf(pair->b) : attach_classic(pair->b));
	TRY("send", send(pair->a, "hello", 5, 0));
	settle();
	get("first", pair->b, 64, MSG_DONTWAIT);
	note_poll("no-more", pair->b, POLLIN, 60);
	TRY("detach", setsockopt(pair->b, SOL_SOCKET, SO_DETACH_FILTER, &how, sizeof(how)));
	note_poll("now", pair->b, POLLIN, 3000);
	get("data", pair->b, 64, MSG_DONTWAIT);
	round_trip("trip", pair);
}

/* The one getsockopt that receives. Nothing of these bytes lies in whole pages: TCP says how much is to be copied. */
static void receive_by_mapping(struct pair *pair, int bytes)
{
	struct {
		uint64_t address;
		uint32_t bytes, to_copy;
	} question = { 0 };
	void *map = mmap(NULL, 65536, PROT_READ, MAP_SHARED, pair->b, 0);
	socklen_t length = sizeof(question);

	note("mapped", "%d", map != MAP_FAILED);
	question.address = (uintptr_t)map;
	question.bytes = 65536;
	TRY("nothing", getsockopt(pair->b, IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, &question, &length));
	note("nothing", "%u %u", question.bytes, question.to_copy);
	put_bytes(pair->a, (size_t)bytes, 3);
	settle();
	question.bytes = 65536;
	TRY("some", getsockopt(pair->b, IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, &question, &length));
	note("some", "%u %u", question.bytes, question.to_copy);
	drain("data", pair->b, (size_t)bytes);
	round_trip("trip", pair);
}

/* The same with bytes unread that came before. */
static void receive_by_mapping_unread(struct pair *pair, int bytes)
{
	put(pair->a, "u");
	settle();
	get("peek", pair->b, 64, MSG_PEEK);
	receive_by_mapping(pair, bytes);
}

/* SO_LINGER set by one that closes with bytes unread: with 0, with time. */
static void lingering_unread(struct pair *pair, int seconds)
{
	struct linger value = { .l_onoff = 1, .l_linger = seconds };
	uint64_t start_ms;

	put(pair->a, "unread");
	put(pair->b, "on its way");
	settle();
	TRY("set", setsockopt(pair->b, SOL_SOCKET, SO_LINGER, &value, sizeof(value)));
	start_ms = clock_ms();
	TRY("close", close(pair->b));
	note("quick", "%s", clock_ms() - start_ms < 900 ? "yes" : "no");
	settle();
	note_poll("poll", pair->a, POLLIN | POLLOUT | POLLRDHUP, 200);
	get("receive", pair->a, 64, MSG_DONTWAIT);
	get("next", pair->a, 64, MSG_DONTWAIT);
	TRY("send", send(pair->a, "x", 1, MSG_NOSIGNAL));
}

/* ---- calls that no wrapper sees ---- */

/* A few bytes by a wrapper, many past it: one receive gets all. argument: how many */
static void raw_behind_wrapped(struct pair *pair, int bytes)
{
	static char buffer[100000];

	for (int i = 0; i < 3; i++) {
		put(pair->a, "small");
		fill(buffer, (size_t)bytes, 7);
		TRY("raw", syscall(SYS_sendto, pair->a, buffer, bytes, 0, NULL, 0));
		settle();
		GET("receive", buffer, recv(pair->b, buffer, sizeof(buffer), MSG_DONTWAIT));
		GET("rest", buffer, recv(pair->b, buffer, sizeof(buffer), MSG_DONTWAIT));
	}
	round_trip("trip", pair);
}

static void raw_splice(struct pair *pair, int unused)
{
	int ends[2];
	char text[64];

	(void)unused;
	fcntl(pair->b, F_SETFL, O_NONBLOCK);
	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		note("FAILED", "pipe");
	put(pair->a, "hello");
	settle();
	TRY("splice", syscall(SYS_splice, pair->b, NULL, ends[1], NULL, 64, 0));
	GET("piped", text, read(ends[0], text, sizeof(text)));
	get("data", pair->b, 64, MSG_DONTWAIT);
	round_trip("trip", pair);
}

/* argument: by libc's syscall(), as libuv closes, and not by an instruction of the program's own */
static void raw_close_unread(struct pair *pair, int by_call)
{
	put(pair->a, "unread");
	settle();
	TRY("close", by_call ? syscall(SYS_close, pair->b) : raw_system_call(SYS_close, pair->b, 0, 0, 0, 0, 0));
	settle();
	get("receive", pair->a, 64, MSG_DONTWAIT);
}

/* recv() does not look at the bit of MSG_CMSG_COMPAT, recvmsg() refuses it. */
static void compat_bit(struct pair *pair, int flags)
{
	put(pair->a, "abc");
	settle();
	get("receive", pair->b, 3, INT_MIN | flags);
	round_trip("trip", pair);
}

static void errqueue_and_oob(struct pair *pair, int unused)
{
	char byte;

	(void)unused;
	TRY("receive", recv(pair->b, &byte, 1, MSG_ERRQUEUE | MSG_OOB | MSG_DONTWAIT));
	round_trip("trip", pair);
}

/* The length of the address that is to be told is below 0. */
static void negative_length(struct pair *pair, int flags)
{
	struct sockaddr_storage from;
	socklen_t length = (socklen_t)-1;
	char text[3];

	put(pair->a, "abc");
	settle();
	TRY("receive", recvfrom(pair->b, text, sizeof(text), flags, (struct sockaddr *)&from, &length));
	note("length", "%d", (int)length);
	round_trip("trip", pair);
}

static const struct semantics_case cases[] = {
	{ "flag-compat-waitall", compat_bit, MSG_WAITALL, 0 },
	{ "flag-compat-trunc", compat_bit, MSG_TRUNC, 0 },
	{ "flag-errqueue-oob", errqueue_and_oob, 0, 0 },
	{ "flag-negative-length", negative_length, 0, 0 },
	{ "flag-negative-length-waitall", negative_length, MSG_WAITALL, 0 },
	{ "flag-negative-length-trunc", negative_length, MSG_TRUNC, 0 },
	{ "md5-signatures", signatures, 0, 0 },
	{ "md5-signatures-unread", signatures, 1, 0 },
	{ "repair-unread", repair_unread, 0, 0 },
	{ "filter-drops-then-not", filtered, 0, 0 },
	{ "filter-bpf-drops", filtered, FILTER_BPF, 0 },
	{ "filter-drops-unread", filtered, FILTER_UNREAD, 0 },
	{ "filter-bpf-drops-unread", filtered, FILTER_BPF | FILTER_UNREAD, 0 },
	{ "zerocopy-receive", receive_by_mapping, 100, 0 },
	{ "zerocopy-receive-10000", receive_by_mapping, 10000, 0 },
	{ "zerocopy-receive-unread", receive_by_mapping_unread, 1000, 0 },
	{ "linger-zero-unread", lingering_unread, 0, 0 },
	{ "linger-unread", lingering_unread, 1, 0 },
	{ "raw-behind-wrapped-10", raw_behind_wrapped, 10, 0 },
	{ "raw-behind-wrapped-30000", raw_behind_wrapped, 30000, 0 },
	{ "raw-splice", raw_splice, 0, 0 },
	{ "raw-close-unread", raw_close_unread, 0, 0 },
	{ "close-unread-by-call", raw_close_unread, 1, 0 },
};
FAMILY(edges);
