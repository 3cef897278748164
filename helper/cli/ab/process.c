/* SPDX-License-Identifier: BSD-2-Clause */
/* Child processes of a trial: see process.h. */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sweep.h"

static int signal_fd = -1;
static int ending_signal;
static unsigned ending_count;
static sigset_t original_mask;

int64_t ab_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* Passes on what is sent to this process alone: a terminal signals the group. Returns with the status of the child. */
static int stand_in(pid_t child, const sigset_t *ending)
{
	siginfo_t info;
	sigset_t awaited = *ending;
	int status;

	sigaddset(&awaited, SIGCHLD);
	sigprocmask(SIG_BLOCK, &awaited, NULL);
	for (;;) {
		pid_t ended = waitpid(child, &status, WNOHANG);

		if (ended == child || (ended < 0 && errno != EINTR))
			return ended == child && WIFEXITED(status) ? WEXITSTATUS(status) : 128 + SIGKILL;
		if (sigwaitinfo(&awaited, &info) > 0 && info.si_signo != SIGCHLD && info.si_code <= 0)
			kill(child, info.si_signo);
	}
}

/* Whoever calls by `exec` may have started processes before, which would be taken for children of the trial's: then a child does it all. */
static int leave_others_alone(const sigset_t *ending)
{
	siginfo_t info;
	pid_t parent = getpid(), child;

	if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) && errno == ECHILD)
		return 0;
	fflush(NULL);
	child = fork();
	if (child < 0)
		return -errno;
	if (child > 0)
		_exit(stand_in(child, ending));
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	return getppid() == parent ? 0 : -ESRCH;
}

int ab_process_init(void)
{
	struct sigaction hang_up;
	sigset_t ending;

	sigemptyset(&ending);
	sigaddset(&ending, SIGINT);
	sigaddset(&ending, SIGTERM);
	if (!sigaction(SIGHUP, NULL, &hang_up) && hang_up.sa_handler != SIG_IGN) /* nohup(1) */
		sigaddset(&ending, SIGHUP);
	signal(SIGCHLD, SIG_DFL); /* who ignores it has no zombies to wait for */
	if (sigprocmask(SIG_BLOCK, &ending, &original_mask))
		return -errno;
	int err = leave_others_alone(&ending);
	if (err)
		return err;
	signal(SIGPIPE, SIG_IGN); /* who reads our output may go before the report is made */
	signal_fd = signalfd(-1, &ending, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signal_fd < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1))
		return -errno;
	return 0;
}

static void take_signals(void)
{
	struct signalfd_siginfo info;

	while (signal_fd >= 0 && read(signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (!ending_signal)
			ending_signal = (int)info.ssi_signo;
		ending_count++;
	}
}

int ab_process_signal(void)
{
	take_signals();
	return ending_signal;
}

bool ab_process_impatient(void)
{
	take_signals();
	return ending_count > 1;
}

/* ---- start ---- */
static void child_fail(int report, int err)
{
	ssize_t ignored = write(report, &err, sizeof(err));

	(void)ignored;
	_exit(127);
}

static void child(const struct ab_spawn *spawn, int report, int output[AB_STREAMS], pid_t parent)
{
	int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	if (dup2(null_fd, STDIN_FILENO) < 0 || dup2(output[AB_STDOUT], STDOUT_FILENO) < 0 ||
	    dup2(output[AB_STDERR], STDERR_FILENO) < 0)
		child_fail(report, errno);
	if (spawn->cpus && sched_setaffinity(0, sizeof(*spawn->cpus), spawn->cpus))
		child_fail(report, errno);
	if (spawn->prepare && !spawn->prepare(spawn->context))
		child_fail(report, ECANCELED);
	signal(SIGPIPE, SIG_DFL);
	sigprocmask(SIG_SETMASK, &original_mask, NULL);
	execvp(spawn->argv[0], spawn->argv);
	child_fail(report, errno);
}

static int open_pipes(int report[2], int output[AB_STREAMS][2])
{
	if (pipe2(report, O_CLOEXEC))
		return -errno;
	for (int i = 0; i < AB_STREAMS; i++)
		if (pipe2(output[i], O_CLOEXEC))
			return -errno;
	return 0;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

int ab_process_start(struct ab_process *process, const struct ab_spawn *spawn)
{
	int report[2] = { -1, -1 }, output[AB_STREAMS][2] = { { -1, -1 }, { -1, -1 } };
	pid_t parent = getpid();
	int err, child_err = 0;

	*process = (struct ab_process){ .pidfd = -1, .output = { -1, -1 } };
	fflush(NULL);
	err = open_pipes(report, output);
	if (err)
		goto out;
	process->pid = fork();
	if (process->pid == 0)
		child(spawn, report[1], (int[AB_STREAMS]){ output[0][1], output[1][1] }, parent);
	if (process->pid < 0) {
		process->pid = 0;
		err = -errno;
		goto out;
	}
	setpgid(process->pid, process->pid); /* whoever comes first; after exec it fails, having been done */
	process->pidfd = (int)syscall(SYS_pidfd_open, process->pid, 0);
	for (int i = 0; i < AB_STREAMS; i++) {
		process->output[i] = output[i][0];
		fcntl(output[i][0], F_SETFL, O_NONBLOCK);
		output[i][0] = -1;
	}
	close_fd(&report[1]);
	while (read(report[0], &child_err, sizeof(child_err)) < 0 && errno == EINTR)
		;
	process->start_ns = ab_now_ns();
	if (process->pidfd < 0)
		child_err = EMFILE;
	if (child_err) {
		ab_process_end(process, 0);
		err = -child_err;
	}
out:
	close_fd(&report[0]);
	close_fd(&report[1]);
	for (int i = 0; i < AB_STREAMS; i++) {
		close_fd(&output[i][0]);
		close_fd(&output[i][1]);
	}
	return err;
}

/* ---- output ---- */
/* True if anything came. */
static bool take_output(struct ab_process *process, enum ab_stream stream)
{
	static char buffer[65536];
	bool some = false;

	while (process->output[stream] >= 0) {
		ssize_t got = read(process->output[stream], buffer, sizeof(buffer));

		if (got > 0) {
			ab_text_add(&process->text[stream], buffer, (size_t)got);
			some = true;
		} else if (got == 0) {
			close_fd(&process->output[stream]);
		} else if (errno != EINTR) {
			break;
		}
	}
	return some;
}

/* ---- waiting ---- */
#define WATCHED_MAX (1 + 2 * (1 + AB_STREAMS))

static void watch(struct pollfd *fds, nfds_t *count, const struct ab_process *process)
{
	if (!process || !process->pid || process->reaped)
		return;
	if (!process->ended)
		fds[(*count)++] = (struct pollfd){ .fd = process->pidfd, .events = POLLIN };
	for (int i = 0; i < AB_STREAMS; i++)
		if (process->output[i] >= 0)
			fds[(*count)++] = (struct pollfd){ .fd = process->output[i], .events = POLLIN };
}

/* Looks for the end first, then takes the output: what a process printed before it ended is in the pipe by then. */
static bool look(struct ab_process *process, bool *output)
{
	siginfo_t info = { 0 };

	*output = false;
	if (!process || !process->pid || process->reaped)
		return false;
	if (!process->ended && !waitid(P_PIDFD, (id_t)process->pidfd, &info, WEXITED | WNOHANG | WNOWAIT) &&
	    info.si_pid) {
		process->ended = true;
		process->end_ns = ab_now_ns();
	}
	for (int i = 0; i < AB_STREAMS; i++)
		*output |= take_output(process, (enum ab_stream)i);
	return process->ended;
}

enum ab_event ab_process_wait(struct ab_process *client, struct ab_process *server, int64_t deadline_ns)
{
	static unsigned told;
	bool ignored, output;

	for (;;) {
		struct pollfd fds[WATCHED_MAX];
		nfds_t count = 0;
		int64_t left_ns = deadline_ns - ab_now_ns();
		struct timespec left = { .tv_sec = left_ns / 1000000000, .tv_nsec = left_ns % 1000000000 };

		if (look(client, &ignored))
			return AB_EVENT_CLIENT_ENDED;
		if (look(server, &output))
			return AB_EVENT_SERVER_ENDED;
		take_signals();
		if (told < ending_count) {
			told = ending_count;
			return AB_EVENT_SIGNAL;
		}
		if (output)
			return AB_EVENT_OUTPUT;
		if (left_ns <= 0)
			return AB_EVENT_TIMEOUT;
		fds[count++] = (struct pollfd){ .fd = signal_fd, .events = POLLIN };
		watch(fds, &count, client);
		watch(fds, &count, server);
		ppoll(fds, count, &left, NULL);
	}
}

/* ---- ending ---- */
static void reap(struct ab_process *process)
{
	bool ignored;

	kill(-process->pid, SIGKILL); /* what is left of the group, while the zombie keeps its number */
	look(process, &ignored);
	if (ab_sweep_reap(process->pid, process->pidfd, &process->status, &process->cpu_s))
		process->status = SIGKILL; /* what it was given */
	process->reaped = true;
	close_fd(&process->pidfd);
	for (int i = 0; i < AB_STREAMS; i++)
		close_fd(&process->output[i]);
}

void ab_process_end(struct ab_process *process, int grace_ms)
{
	int64_t deadline_ns = ab_now_ns() + grace_ms * 1000000LL;

	if (!process->pid || process->reaped)
		return;
	if (!process->ended && grace_ms > 0) {
		kill(-process->pid, SIGTERM);
		kill(-process->pid, SIGCONT);
		while (!process->ended && ab_now_ns() < deadline_ns && !ab_process_impatient())
			ab_process_wait(process, NULL, deadline_ns);
	}
	reap(process); /* SIGKILL, if it still runs */
}

const char *ab_process_last_words(const struct ab_process *process)
{
	static char line[AB_LINE_BYTES];

	if (!*ab_text_last_line(&process->text[AB_STDERR], line))
		ab_text_last_line(&process->text[AB_STDOUT], line);
	return line;
}

void ab_process_free(struct ab_process *process)
{
	ab_process_end(process, 0);
	for (int i = 0; i < AB_STREAMS; i++) {
		free(process->text[i].text);
		process->text[i] = (struct ab_text){ 0 };
	}
}

const char *ab_status_text(char buffer[AB_STATUS_BYTES], int status)
{
	if (WIFSIGNALED(status))
		snprintf(buffer, AB_STATUS_BYTES, "signal %d (%.40s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(buffer, AB_STATUS_BYTES, "exit status %d", WEXITSTATUS(status));
	return buffer;
}
