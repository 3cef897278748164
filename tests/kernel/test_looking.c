/* SPDX-License-Identifier: BSD-2-Clause */
/* Facts of a socket by the caller's own fd (datapath_look()): the same name and numbers as the system calls tell, of
 * TCP sockets only, whatever else an fd may be. Both ways of reading are put through it. */
#define _GNU_SOURCE
#include "kernel_test.h"

#include <limits.h>
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
	close(high);
	check(looked(server).facts.sk != look.facts.sk, "look", "the-other-end-is-another-socket", "-");
	look = looked(listener);
	check(look.is_tcp && !look.remote_port_n, "look", "a-listening-socket-has-no-peer", "-");
	if (setsockopt(client, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) == 0)
		check(looked(client).has_ulp, "look", "an-upper-layer-protocol-shows", "-");
	close(client);
	close(server);
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
	for (int probe_read = 0; probe_read < 2; probe_read++) {
		options.force_probe_read = probe_read;
		require(datapath_open(&datapath, &options) == 0);
		test_names("127.0.0.1", "127.0.0.1", "names-of-ipv4");
		test_names("::1", "::1", "names-of-ipv6");
		test_names("::", "127.0.0.1", "names-of-ipv4-at-a-dual-stack-listener");
		test_names("::", "::ffff:127.0.0.1", "names-of-mapped-ipv4");
		test_facts();
		test_other_fds();
		datapath_close(datapath);
	}
	return kernel_test_finish();
}
