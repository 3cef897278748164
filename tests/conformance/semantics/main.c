/* SPDX-License-Identifier: BSD-2-Clause */
/* semantics --all | --list | CASE...    [--jobs N] [--deadline MS] [--pids] [--leave] [--stream] [--ipv6 | --unix] [--threads] [--filtered]
 *		[--ends-first]
 *
 * Each case is a process with a pipe for its notes. They come out in the order of the table, each line after the name of
 * its case: "CASE FIELD VALUE". Two fields are about the run itself: "armed" (yes, no) and "END", the last one: "done",
 * "HANG", "failed", or the name of the signal that ended it. With --pids a third, "pid", says what the helper's log calls it.
 * --leave: pairs have gone back to plain TCP for an option, --stream: for being a stream of small writes; --ipv6, --unix: they are of
 * IPv6, or no TCP at all; --threads: a case's process has had another thread;
 * --filtered: it has a filter of its system calls, which allows all; --ends-first: peers that close or reset shut down their sending before.
 */
#include "semantics.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define STEP_MAX_MS 50
#define JOBS_MAX 32
#define CASES_MAX 1024
#define WANTED_FROM 590
#define PIPES_FROM 600
#define OUTPUT_MAX (64 * 1024)

#define REFERENCE(title) &family_##title,
static const struct family *const families[] = { FAMILIES(REFERENCE) };

struct running {
	const struct semantics_case *item;
	pid_t pid;
	int fd;
	unsigned waited_ms;
	size_t used;
	char *output;
	bool ended;
	const char *end;
};

static bool with_pids, with_threads, is_filtered;
static unsigned deadline_ms = 5000; /* of a case; an emulated machine needs longer */
static struct running runs[CASES_MAX];
static size_t run_count;

static void nothing(void *unused)
{
	(void)unused;
}

static void filter(void)
{
	struct sock_filter all = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = { .len = 1, .filter = &all };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) != 0)
		note("FAILED", "filter: %s", errno_text(errno));
}

static void run_child(const struct semantics_case *item, int output)
{
	struct pair pair = { -1, -1 };

	/* Whatever a case leaves behind goes with its process group. */
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (dup2(output, STDOUT_FILENO) < 0 || dup2(output, STDERR_FILENO) < 0)
		_exit(70);
	close(output);
	signal(SIGPIPE, SIG_DFL);
	if (with_threads)
		later_call(0, nothing, NULL);
	if (!(item->flags & CASE_BARE))
		note("armed", "%s", pair_make(&pair, !(item->flags & CASE_NAGLE)) ? "yes" : "no");
	if (is_filtered)
		filter();
	item->run(&pair, item->argument);
	later_join();
	_exit(0);
}

static void start(struct running *run)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		abort();
	run->output = malloc(OUTPUT_MAX);
	run->pid = fork();
	if (run->pid < 0)
		abort();
	if (run->pid == 0) {
		close(ends[0]);
		run_child(run->item, ends[1]);
	}
	close(ends[1]);
	/* Far above the numbers that a case gets, so that these are the same each time. */
	run->fd = fcntl(ends[0], F_DUPFD_CLOEXEC, PIPES_FROM);
	close(ends[0]);
	if (run->fd < 0)
		abort();
}

static void finish(struct running *run, const char *end)
{
	int status = 0;

	kill(-run->pid, SIGKILL);
	kill(run->pid, SIGKILL);
	waitpid(run->pid, &status, 0);
	close(run->fd);
	run->ended = true;
	run->output[run->used] = 0;
	if (end)
		run->end = end;
	else if (WIFSIGNALED(status))
		run->end = sigabbrev_np(WTERMSIG(status));
	else
		run->end = WEXITSTATUS(status) ? "failed" : "done";
}

static void print(struct running *run)
{
	for (char *line = strtok(run->output, "\n"); line; line = strtok(NULL, "\n"))
		printf("%s %s\n", run->item->name, line);
	if (with_pids)
		printf("%s pid %d\n", run->item->name, run->pid);
	printf("%s END %s\n", run->item->name, run->end);
	fflush(stdout);
	free(run->output);
}

/* The end of the case is its process's end; a grandchild may keep the pipe open. */
static bool take(struct running *run)
{
	siginfo_t info = { 0 };
	struct pollfd poller = { .fd = run->fd, .events = POLLIN };
	bool gone = waitid(P_PID, (id_t)run->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == run->pid;

	while (run->used < OUTPUT_MAX - 1 && poll(&poller, 1, 0) == 1) {
		ssize_t got = read(run->fd, run->output + run->used, OUTPUT_MAX - 1 - run->used);

		if (got <= 0)
			break;
		run->used += (size_t)got;
	}
	return gone;
}

static void run_all(size_t jobs)
{
	size_t next = 0, active = 0, printed = 0;
	uint64_t last_ms = clock_ms();

	while (printed < run_count) {
		if (next < run_count && active < jobs) {
			start(&runs[next++]);
			active++;
			continue;
		}
		/* A machine that stands still for a while does not use up the deadline. */
		uint64_t now = clock_ms(), step_ms = now - last_ms < STEP_MAX_MS ? now - last_ms : STEP_MAX_MS;
		last_ms = now;
		for (size_t i = 0; i < next; i++) {
			if (runs[i].ended)
				continue;
			runs[i].waited_ms += (unsigned)step_ms;
			bool gone = take(&runs[i]), late = runs[i].waited_ms > deadline_ms;

			if (gone || late) {
				finish(&runs[i], gone ? NULL : "HANG");
				active--;
			}
		}
		while (printed < next && runs[printed].ended)
			print(&runs[printed++]);
		usleep(2000);
	}
}

static bool wanted(const char *name, const char *family, int argc, char **argv, bool all)
{
	for (int i = 1; i < argc && !all; i++)
		if (!strcmp(argv[i], name) || !strcmp(argv[i], family))
			return true;
	return all;
}

/* Receive timestamps and TCP's signatures are code of the kernel that it patches in with the first socket that wants them, and out after
 * the last. Dozens of cases want them for a moment; an emulated machine with several processors does not survive each
 * patch ("Oops: int3" in ip_local_deliver_finish(), 6.12). So they stay wanted. Raw: the shim sees none of it. */
static void keep_wanted(void)
{
	int datagrams = (int)syscall(SYS_socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int stream = (int)syscall(SYS_socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct tcp_md5sig key = { .tcpm_keylen = 6, .tcpm_key = "wanted" };
	struct sockaddr_in nobody = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	memcpy(&key.tcpm_addr, &nobody, sizeof(nobody));
	set_int(datagrams, SOL_SOCKET, SO_TIMESTAMP, 1);
	setsockopt(stream, IPPROTO_TCP, TCP_MD5SIG, &key, sizeof(key));
	fcntl(datagrams, F_DUPFD_CLOEXEC, WANTED_FROM);
	fcntl(stream, F_DUPFD_CLOEXEC, WANTED_FROM);
	close(datagrams);
	close(stream);
}

int main(int argc, char **argv)
{
	size_t jobs = 1;
	bool all = false, list = false;

	for (int i = 1; i < argc; i++) {
		all |= !strcmp(argv[i], "--all");
		list |= !strcmp(argv[i], "--list");
		with_pids |= !strcmp(argv[i], "--pids");
		pair_leaves |= !strcmp(argv[i], "--leave");
		pair_streams |= !strcmp(argv[i], "--stream");
		pair_is_ipv6 |= !strcmp(argv[i], "--ipv6");
		pair_is_unix |= !strcmp(argv[i], "--unix");
		with_threads |= !strcmp(argv[i], "--threads");
		later_ends_first |= !strcmp(argv[i], "--ends-first");
		is_filtered |= !strcmp(argv[i], "--filtered");
		if (!strcmp(argv[i], "--jobs") && i + 1 < argc)
			jobs = strtoul(argv[i + 1], NULL, 10);
		if (!strcmp(argv[i], "--deadline") && i + 1 < argc)
			deadline_ms = (unsigned)strtoul(argv[i + 1], NULL, 10);
	}
	jobs = jobs < 1 ? 1 : jobs > JOBS_MAX ? JOBS_MAX : jobs;
	for (size_t f = 0; f < sizeof(families) / sizeof(families[0]); f++)
		for (size_t i = 0; i < families[f]->count && run_count < CASES_MAX; i++) {
			const struct semantics_case *item = &families[f]->cases[i];

			if (list)
				printf("%s %s\n", item->name, families[f]->name);
			else if (wanted(item->name, families[f]->name, argc, argv, all))
				runs[run_count++].item = item;
		}
	fflush(stdout);
	if (!list && run_count == 0) {
		fprintf(stderr, "usage: semantics --all | --list | CASE|FAMILY... [--jobs N] [--deadline MS]\n");
		return 2;
	}
	keep_wanted();
	run_all(jobs);
	return 0;
}
