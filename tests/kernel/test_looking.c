/* SPDX-License-Identifier: BSD-2-Clause */
/* Facts of a socket by the caller's own fd (datapath_look()): the same name and numbers as the system calls tell, of
 * TCP sockets only, whatever else an fd may be. Both ways of reading are put through it, where the kernel has both. */
#define _GNU_SOURCE
#include "kernel_pair.h"

#include <limits.h>
#include <linux/filter.h>
#include <linux/net_tstamp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "../support/loopback.h"
#include "datapath.h"

#define FDS_HIGH 3000 /* beyond the first table of fds, which holds 64 */
#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif
#ifndef TCP_INQ
#define TCP_INQ 36
#endif
#define OPTION_SO_TIMESTAMP_NEW 63
#define OPTION_SO_TIMESTAMPNS_NEW 64
#define OPTION_SO_TIMESTAMPING_NEW 65

static struct datapath *datapath;

static struct sm_look looked(int fd)
{
	struct sm_look look;
	int error = datapath_look(datapath, fd, &look);

	errno = -error;
	require(error == 0);
	return look;
}

static uint64_t option_u64(int fd, int option)
{
	uint64_t value = 0;
	socklen_t bytes = sizeof(value);

	require(getsockopt(fd, SOL_SOCKET, option, &value, &bytes) == 0);
	return value;
}

/* Whether it is the address that a system call told; IPv4 as v4-mapped. */
static bool is_address(const uint8_t told[16], uint16_t port_n, const struct sockaddr_storage *address)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;

	if (address->ss_family == AF_INET)
		return !memcmp(told, mapped, sizeof(mapped)) && !memcmp(told + 12, &v4->sin_addr, 4) &&
		       port_n == v4->sin_port;
	return !memcmp(told, &v6->sin6_addr, 16) && port_n == v6->sin6_port;
}

static bool tells_the_name(int fd)
{
	struct sockaddr_storage local = { 0 }, remote = { 0 };
	socklen_t local_bytes = sizeof(local), remote_bytes = sizeof(remote);
	struct sm_look look = looked(fd);

	require(getsockname(fd, (struct sockaddr *)&local, &local_bytes) == 0);
	require(getpeername(fd, (struct sockaddr *)&remote, &remote_bytes) == 0);
	return look.is_tcp && look.family == local.ss_family && is_address(look.local, look.local_port_n, &local) &&
	       is_address(look.remote, look.remote_port_n, &remote);
}

static void test_names(const char *listen_on, const char *connect_to, const char *name)
{
	int listener = loopback_listen(listen_on, 0, 1, 0);
	int client = loopback_connect(connect_to, loopback_port(listener)), server = accept(listener, NULL, NULL);

	require(server >= 0);
	check(tells_the_name(client) && tells_the_name(server), "look", name, "-");
	close(client);
	close(server);
	close(listener);
}

static void test_facts(void)
{
	int listener = loopback_listen("127.0.0.1", 0, 1, 0), high;
	int client = loopback_connect("127.0.0.1", loopback_port(listener)), server = accept(listener, NULL, NULL);
	struct sm_look look = looked(client);
	uint64_t cookie;

	check(look.is_tcp && !look.facts.cookie, "look", "no-cookie-before-anybody-asked", "-");
	cookie = option_u64(client, SO_COOKIE);
	look = looked(client);
	check(look.facts.found && look.facts.cookie == cookie, "look", "then-that-cookie", "-");
	check(look.facts.netns_cookie && look.facts.netns_cookie == option_u64(client, SO_NETNS_COOKIE), "look",
	      "the-cookie-of-its-namespace", "%llx", (unsigned long long)look.facts.netns_cookie);
	check(look.facts.tcp_state == 1 && !look.has_ulp && !look.facts.psock_refs && !look.facts.blocked_threads,
	      "look", "established-and-plain", "state %u refs %u blocked %u", look.facts.tcp_state,
	      look.facts.psock_refs, look.facts.blocked_threads);
	high = fcntl(client, F_DUPFD_CLOEXEC, FDS_HIGH);
	require(high >= FDS_HIGH);
	check(looked(high).facts.sk == look.facts.sk, "look", "the-same-socket-under-a-high-number", "-");
	check(look.facts.holders == 1 && looked(client).facts.holders == 2, "look", "each-fd-holds-its-file", "%u, %u",
	      look.facts.holders, looked(client).facts.holders);
	close(high);
	check(looked(client).facts.holders == 1, "look", "and-lets-it-go-when-closed", "%u",
	      looked(client).facts.holders);
	check(looked(server).facts.sk != look.facts.sk, "look", "the-other-end-is-another-socket", "-");
	look = looked(listener);
	check(look.is_tcp && !look.remote_port_n, "look", "a-listening-socket-has-no-peer", "-");
	if (setsockopt(client, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) == 0)
		check(looked(client).has_ulp, "look", "an-upper-layer-protocol-shows", "-");
	close(client);
	close(server);
	close(listener);
}

static const struct setting {
	const char *name;
	int level, number, value;
	uint32_t shows;
} settings[] = {
	{ "zerocopy", SOL_SOCKET, SO_ZEROCOPY, 1, SM_OPTION_ZEROCOPY },
	{ "rcvlowat", SOL_SOCKET, SO_RCVLOWAT, 2, SM_OPTION_LOWAT },
	{ "oobinline", SOL_SOCKET, SO_OOBINLINE, 1, SM_OPTION_OOB_INLINE },
	{ "peek-off", SOL_SOCKET, SO_PEEK_OFF, 0, SM_OPTION_PEEK_OFF }, /* of TCP not on 6.1 */
	{ "timestamp", SOL_SOCKET, SO_TIMESTAMP, 1, SM_OPTION_TIMESTAMP },
	{ "timestampns", SOL_SOCKET, SO_TIMESTAMPNS, 1, SM_OPTION_TIMESTAMP },
	{ "timestamp-new", SOL_SOCKET, OPTION_SO_TIMESTAMP_NEW, 1, SM_OPTION_TIMESTAMP },
	{ "timestampns-new", SOL_SOCKET, OPTION_SO_TIMESTAMPNS_NEW, 1, SM_OPTION_TIMESTAMP },
	{ "timestamping", SOL_SOCKET, SO_TIMESTAMPING, SOF_TIMESTAMPING_SOFTWARE, SM_OPTION_TIMESTAMP },
	{ "timestamping-new", SOL_SOCKET, OPTION_SO_TIMESTAMPING_NEW, SOF_TIMESTAMPING_SOFTWARE, SM_OPTION_TIMESTAMP },
	{ "repair", IPPROTO_TCP, TCP_REPAIR, 1, SM_OPTION_REPAIR },
	{ "inq", IPPROTO_TCP, TCP_INQ, 1, SM_OPTION_INQ },
	{ "max-pacing-rate", SOL_SOCKET, SO_MAX_PACING_RATE, 1000000, SM_OPTION_PACED },
	{ "tx-delay", IPPROTO_TCP, TCP_TX_DELAY, 1000, SM_OPTION_PACED },
	{ "minttl", IPPROTO_IP, IP_MINTTL, 1, SM_OPTION_HOPS },
	{ "nodelay", IPPROTO_TCP, TCP_NODELAY, 1, 0 },
	{ "keepalive", SOL_SOCKET, SO_KEEPALIVE, 1, 0 },
	{ "busy-poll", SOL_SOCKET, SO_BUSY_POLL, 50, 0 },
	{ "rcvbuf", SOL_SOCKET, SO_RCVBUF, 65536, 0 },
};

static void test_setting(const struct setting *setting)
{
	int listener = loopback_listen("127.0.0.1", 0, 1, 0);
	int client = loopback_connect("127.0.0.1", loopback_port(listener));
	uint32_t before = looked(client).options;

	/* What this kernel does not know is not set either. */
	bool known = setsockopt(client, setting->level, setting->number, &setting->value, sizeof(setting->value)) == 0;

	check(!before && looked(client).options == (known ? setting->shows : 0), "options", setting->name, "%#x, %#x",
	      before, looked(client).options);
	close(client);
	close(listener);
}

static void test_filter(void)
{
	struct sock_filter accept_all = { BPF_RET | BPF_K, 0, 0, UINT32_MAX };
	struct sock_fprog program = { 1, &accept_all };
	int listener = loopback_listen("127.0.0.1", 0, 1, 0);
	int client = loopback_connect("127.0.0.1", loopback_port(listener));

	require(setsockopt(client, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0);
	check(looked(client).options == SM_OPTION_FILTER, "options", "filter", "%#x", looked(client).options);
	require(setsockopt(client, SOL_SOCKET, SO_DETACH_FILTER, &program, sizeof(program)) == 0);
	check(!looked(client).options, "options", "filter-taken-away", "%#x", looked(client).options);
	close(client);
	close(listener);
}

static int socket_node(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), node;

	snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/smaccel-test-node-%d", (int)getpid());
	unlink(address.sun_path);
	require(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	node = open(address.sun_path, O_PATH | O_CLOEXEC);
	unlink(address.sun_path);
	close(fd);
	return node;
}

static void refused(int fd, const char *name)
{
	if (fd < 0) {
		skip("look", name, "not on this kernel");
		return;
	}
	check(!looked(fd).is_tcp, "look", name, "-");
	close(fd);
}

static void test_other_fds(void)
{
	int ends[2];

	require(pipe(ends) == 0);
	refused(ends[0], "not-a-pipe");
	close(ends[1]);
	refused(open("/dev/null", O_RDONLY), "not-a-device");
	refused(open("/proc/self/mem", O_RDONLY), "not-a-file-of-proc");
	refused(epoll_create1(0), "not-an-epoll");
	refused(socket_node(), "not-the-node-of-a-socket");
	refused(socket(AF_UNIX, SOCK_STREAM, 0), "not-a-unix-stream");
	refused(socket(AF_INET, SOCK_DGRAM, 0), "not-udp");
	refused(socket(AF_INET, SOCK_RAW, IPPROTO_TCP), "not-a-raw-socket-of-tcp");
	refused(socket(AF_NETLINK, SOCK_RAW, 0), "not-netlink");
	refused(socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP), "not-mptcp");
	check(!looked(ends[1]).is_tcp && !looked(-1).is_tcp && !looked(INT_MAX).is_tcp && !looked(INT_MIN).is_tcp,
	      "look", "numbers-without-a-file", "-");
}

int main(void)
{
	struct datapath_options options = { .slot_count = 1 };
	struct rlimit limit = { FDS_HIGH + 64, FDS_HIGH + 64 };

	alarm(30);
	setrlimit(RLIMIT_NOFILE, &limit);
	for (int probe_read = 0; probe_read < ways_to_read(); probe_read++) {
		options.force_probe_read = probe_read;
		require(datapath_open(&datapath, &options) == 0);
		test_names("127.0.0.1", "127.0.0.1", "names-of-ipv4");
		test_names("::1", "::1", "names-of-ipv6");
		test_names("::", "127.0.0.1", "names-of-ipv4-at-a-dual-stack-listener");
		test_names("::", "::ffff:127.0.0.1", "names-of-mapped-ipv4");
		test_facts();
		for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
			test_setting(&settings[i]);
		test_filter();
		test_other_fds();
		datapath_close(datapath);
	}
	return kernel_test_finish();
}
