/* SPDX-License-Identifier: BSD-2-Clause */
/* Who holds a joined socket, asked of the kernel by the socket's address: the references of its struct file.
 *
 * Counted: fds of any process, those in flight in a unix socket, calls of a process with several threads, a poll that sleeps.
 * Not counted: epoll, and the calls of a process with one thread. So an answer of 1 to the process that owns an fd says that
 * it is the last one; more says "others" (and whether a certain process is one of them, its table of files), or threads of its own, of which those asleep in recv, send, poll or select can be told.
 */
#define _GNU_SOURCE
#include "kernel_pair.h"
#include "kernel_rig.h"

#include <sched.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define SLOTS 4

static struct datapath *datapath;
static uint64_t sk, cookie;

static uint32_t blocked_own, polling_own;
static uint32_t fds_elsewhere; /* of this process's parent */

static uint32_t holders(void)
{
	struct sm_facts facts = { 0 };

	require(datapath_inspect_for(datapath, sk, cookie, (uint32_t)getpid(), &facts) == 0);
	require(facts.found);
	blocked_own = facts.blocked_own;
	polling_own = facts.polling_own;
	return facts.holders;
}

static void expect(uint32_t wanted, const char *what)
{
	uint32_t seen = 0;

	/* fput() of a call that has just ended may come a moment later. */
	bool came = wait_until((seen = holders() - fds_elsewhere) == wanted, 1000);
	check(came, "holders", what, "%u instead of %u", seen, wanted);
}

static void test_fds(int fd)
{
	int copy, gate[2], channel[2], status;
	char byte = 0, control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec vector = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	pid_t child;

	expect(1, "one-fd");
	copy = dup(fd);
	expect(2, "a-duplicate");
	close(copy);
	require(pipe(gate) == 0);
	child = fork();
	if (child == 0)
		_exit(read(gate[0], &byte, 1) == 1 ? 0 : 1);
	expect(2, "a-forked-child");
	require(write(gate[1], "x", 1) == 1);
	require(waitpid(child, &status, 0) == child && status == 0);
	expect(1, "until-it-is-gone");
	require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) == 0);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(int));
	require(sendmsg(channel[0], &message, 0) == 1);
	expect(2, "an-fd-in-flight");
	close(channel[0]);
	close(channel[1]);
	expect(1, "until-the-queue-is-gone");
	close(gate[0]);
	close(gate[1]);
}

/* ---- whose they are ---- */

static uint32_t fds_of(int channel, uint32_t most)
{
	uint32_t count;

	require(datapath_count_fds(datapath, sk, cookie, channel, most, &count) == 0);
	return count;
}

static void expect_fds(int channel, uint32_t wanted, const char *what)
{
	uint32_t seen = 0;

	check(wait_until((seen = fds_of(channel, 5)) == wanted, 1000), "fds", what, "%u instead of %u", seen, wanted);
}

static void *outlive_the_leader(void *unused)
{
	pause();
	return unused;
}

/* Makes a channel of its own, and does what each byte says. */
static _Noreturn void be_holder(int fd, int orders, int answers)
{
	int channel[2], copy = -1;
	pthread_t thread;
	char order;

	require(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) == 0);
	require(write(answers, channel, sizeof(int)) == sizeof(int));
	while (read(orders, &order, 1) == 1) {
		if (order == 'd')
			copy = fcntl(fd, F_DUPFD, 300);
		else if (order == 'c')
			close(fd);
		else if (order == 'C')
			close(copy);
		else if (pthread_create(&thread, NULL, outlive_the_leader, NULL) == 0)
			pthread_exit(NULL);
	}
	_exit(0);
}

static bool leader_has_ended(pid_t process)
{
	char path[32], state = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)process);
	FILE *file = fopen(path, "re");
	require(file && fscanf(file, "%*d (%*[^)]) %c", &state) == 1);
	fclose(file);
	return state == 'Z';
}

static void test_whose(int fd)
{
	int orders[2], answers[2], number, channel;
	pid_t child;

	require(pipe(orders) == 0 && pipe(answers) == 0);
	child = fork();
	if (child == 0)
		be_holder(fd, orders[0], answers[1]);
	require(read(answers[0], &number, sizeof(number)) == sizeof(number));
	int process = (int)syscall(SYS_pidfd_open, child, 0);
	require(process >= 0);
	channel = (int)syscall(SYS_pidfd_getfd, process, number, 0);
	require(channel >= 0);
	expect_fds(channel, 1, "one-of-the-child's");
	require(write(orders[1], "d", 1) == 1);
	expect_fds(channel, 2, "two-of-a-grown-table");
	check(fds_of(channel, 1) == 1, "fds", "no-more-than-asked-for", "%u", fds_of(channel, 1));
	require(write(orders[1], "c", 1) == 1);
	expect_fds(channel, 1, "one-closed");
	require(write(orders[1], "t", 1) == 1);
	require(wait_until(leader_has_ended(child), 1000));
	expect_fds(channel, 1, "of-a-process-whose-leader-has-ended");
	kill(child, SIGKILL);
	expect_fds(channel, 0, "none-of-one-that-is-gone");
	require(waitpid(child, NULL, 0) == child);
	expect_fds(channel, 0, "nor-when-it-was-waited-for");
	expect_fds(fd, 0, "no-channel");
	expect_fds(-1, 0, "no-fd");
	close(channel);
	close(process);
	for (int i = 0; i < 2; i++) {
		close(orders[i]);
		close(answers[i]);
	}
}

static void *poll_for_input(void *argument)
{
	struct pollfd poller = { .fd = *(int *)argument, .events = POLLIN };

	poll(&poller, 1, 10000);
	return NULL;
}

static void test_calls(struct pair *pair, int fd)
{
	struct epoll_event event = { .events = EPOLLIN };
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct sleeper sleeper;
	pthread_t poller;

	require(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
	expect(1, "epoll-does-not-count");
	close(epoll);
	sleeper_start(&sleeper, fd, 1, 0);
	expect(2, "a-thread-asleep-in-recv");
	check(blocked_own == 1, "holders", "which-is-known-as-this-process's", "%u", blocked_own);
	require(sent(pair->ends[1], "x"));
	sleeper_join(&sleeper);
	expect(1, "until-it-is-out");
	require(pthread_create(&poller, NULL, poll_for_input, &fd) == 0);
	expect(2, "a-thread-asleep-in-poll");
	check(polling_own == 1 && blocked_own == 0, "holders", "which-is-known-too", "%u", polling_own);
	require(sent(pair->ends[1], "x"));
	require(pthread_join(poller, NULL) == 0);
	expect(1, "until-it-is-out-too");
	require(received(fd, "x"));
}

/* The helper knows processes by their numbers in its PID namespace, where each has another one than in the host's. */
static void test_in_a_pid_namespace(struct pair *pair)
{
	int status;
	pid_t child;

	require(unshare(CLONE_NEWPID) == 0);
	child = fork();
	if (child == 0) {
		/* A thread's state is looked up there. */
		require(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
			mount("proc", "/proc", "proc", 0, NULL) == 0);
		printf("# process %d of a PID namespace\n", (int)getpid());
		fds_elsewhere = 1;
		test_calls(pair, pair->ends[0]);
		_exit(kernel_test_finish());
	}
	require(waitpid(child, &status, 0) == child);
	check(status == 0, "holders", "the-same-in-a-pid-namespace", "status %d", status);
}

int main(void)
{
	struct datapath_options options = { .slot_count = SLOTS };
	struct pair pair;

	alarm(30);
	require(datapath_open(&datapath, &options) == 0);
	pair_arm(datapath, &pair, 1);
	sk = pair.slot->end[0].sk;
	cookie = pair.cookie[0];
	test_fds(pair.ends[0]);
	test_whose(pair.ends[0]);
	test_calls(&pair, pair.ends[0]);
	test_in_a_pid_namespace(&pair);
	pair_close(&pair);
	datapath_close(datapath);
	return kernel_test_finish();
}
