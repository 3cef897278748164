/* SPDX-License-Identifier: BSD-2-Clause */
/* semantics --all | --list | CASE...    [--jobs N]
 *
 * Each case is a process with a pipe for its notes. They come out in the order of the table, each line after the name of
 * its case: "CASE FIELD VALUE". Two fields are about the run itself: "armed" (yes, no) and "END", the last one: "done",
 * "HANG" or "signal NAME".
 */
#include "semantics.h"

#include <sys/prctl.h>
#include <sys/wait.h>

#define DEADLINE_MS 5000
#define JOBS_MAX 8
#define CASES_MAX 512
#define OUTPUT_MAX (64 * 1024)

#define REFERENCE(title) &family_##title,
static const struct family *const families[] = { FAMILIES(REFERENCE) };

struct running {
	const struct semantics_case *item;
	pid_t pid;
	int fd;
	uint64_t started_ms;
	size_t used;
	char *output;
	bool ended;
};

static struct running runs[CASES_MAX];
static size_t run_count;

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
	if (!(item->flags & CASE_BARE))
		note("armed", "%s", pair_make(&pair, !(item->flags & CASE_NAGLE)) ? "yes" : "no");
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
	run->started_ms = clock_ms();
	run->pid = fork();
	if (run->pid < 0)
		abort();
	if (run->pid == 0) {
		close(ends[0]);
		run_child(run->item, ends[1]);
	}
	close(ends[1]);
	run->fd = ends[0];
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
	for (char *line = strtok(run->output, "\n"); line; line = strtok(NULL, "\n"))
		printf("%s %s\n", run->item->name, line);
	if (end)
		printf("%s END %s\n", run->item->name, end);
	else if (WIFSIGNALED(status))
		printf("%s END signal %s\n", run->item->name, sigabbrev_np(WTERMSIG(status)));
	else
		printf("%s END %s\n", run->item->name, WEXITSTATUS(status) ? "failed" : "done");
	fflush(stdout);
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
	size_t next = 0, active = 0;

	while (next < run_count || active > 0) {
		if (next < run_count && active < jobs) {
			start(&runs[next++]);
			active++;
			continue;
		}
		for (size_t i = 0; i < next; i++) {
			if (runs[i].ended)
				continue;
			bool gone = take(&runs[i]), late = clock_ms() - runs[i].started_ms > DEADLINE_MS;

			if (gone || late) {
				finish(&runs[i], gone ? NULL : "HANG");
				active--;
			}
		}
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

int main(int argc, char **argv)
{
	size_t jobs = 1;
	bool all = false, list = false;

	for (int i = 1; i < argc; i++) {
		all |= !strcmp(argv[i], "--all");
		list |= !strcmp(argv[i], "--list");
		if (!strcmp(argv[i], "--jobs") && i + 1 < argc)
			jobs = strtoul(argv[i + 1], NULL, 10);
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
		fprintf(stderr, "usage: semantics --all | --list | CASE|FAMILY... [--jobs N]\n");
		return 2;
	}
	run_all(jobs);
	return 0;
}
