/* SPDX-License-Identifier: BSD-2-Clause */
/* The watchdog.
 *
 * The loop takes the lock of sockets that clients send it (getsockname, the sockmap's update). A client can keep a socket's
 * lock for ever, for example by a send() from memory behind a FUSE server that does not answer, and the loop then
 * sleeps without an end, and cannot even be killed. Nothing in the kernel's interface takes that lock with a time
 * limit. So somebody has to notice: everybody's channel is shut down, which they see at once (no process waits for an
 * answer that does not come), the locks are let go, and this process asks to be killed. Whoever supervises it
 * (systemd) starts the next one; armed pairs run on and are taken over.
 *
 * Stuck means: SAMPLES times in a row, PAUSE_NS apart, the loop was in one and the same turn, and its thread asleep beyond the reach of
 * signals ("D"). A stopped process, or one that gets no CPU, is not stuck. Nor is one whose lock is held by a thread that
 * gets no CPU: where real-time threads or many others take it all, that lock comes free by itself. So canaries are sent out
 * at the first suspicion, and as long as one of them has to wait for its CPU, so may the holder, and the loop
 * is given time, up to SAMPLES_STARVED. While the loop has nothing to do the thread sleeps as well: the first request
 * wakes it.
 */
#include "watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "canary.h"
#include "helper.h"
#include "listener.h"
#include "log.h"
#include "loop.h"
#include "selftest.h"
#include "session.h"

#define PAUSE_NS (250 * LOOP_NS_PER_MS)
#define SAMPLES 4
#define SAMPLES_STARVED (20 * SAMPLES)
#define QUIET_SAMPLES 8 /* no request for so long: sleep */

static int stat_fd = -1; /* of the loop's thread in /proc; opened before such things are forbidden */

static bool sleeps_beyond_signals(void)
{
	char text[256];
	ssize_t bytes = pread(stat_fd, text, sizeof(text) - 1, 0);
	const char *end;

	if (bytes <= 0)
		return false;
	text[bytes] = '\0';
	end = strrchr(text, ')'); /* "TID (name) S ..." */
	return end && end[1] == ' ' && end[2] == 'D';
}

static void hang_up_session(struct session *session, void *context)
{
	(void)context;
	if (channel_is_open(&session->channel))
		shutdown(session->channel.source.fd, SHUT_RDWR);
}

/* The loop's thread sleeps in a system call and changes nothing meanwhile. (At any other time this thread touches nothing of
 * the helper's.) */
static void give_up(struct helper *helper)
{
	log_error("stuck: somebody keeps a socket locked; ending, so that another helper can take over");
	sessions_each(helper->sessions, hang_up_session, NULL);
	listener_abandon(helper->listener);
	kill(getpid(), SIGKILL);
}

/* One more sample. True when it has been so for long enough, with no other explanation. */
static bool is_stuck(uint64_t turn, bool is_same_turn)
{
	static unsigned samples;

	if (!is_same_turn || !loop_turn_is_busy(turn) || !sleeps_beyond_signals()) {
		samples = 0;
		canaries_recall();
		return false;
	}
	if (!samples++)
		canaries_send();
	if (samples % SAMPLES)
		return false;
	return !canaries_starved() || samples >= SAMPLES_STARVED;
}

static void *watchdog_main(void *argument)
{
	struct helper *helper = argument;
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	uint64_t turn, last_turn = 0, requests, last_requests = 0;
	unsigned quiet = 0;

	for (;;) {
		if (quiet >= QUIET_SAMPLES) {
			loop_await_request(last_requests);
			quiet = 0;
		}
		nanosleep(&pause, NULL);
		turn = loop_turn();
		requests = loop_request_turns();
		quiet = requests == last_requests && !loop_turn_is_busy(turn) ? quiet + 1 : 0;
		if (is_stuck(turn, turn == last_turn))
			give_up(helper);
		last_turn = turn;
		last_requests = requests;
	}
	return NULL;
}

int watchdog_open(void)
{
	char path[64];

	canaries_open();
	snprintf(path, sizeof(path), "/proc/self/task/%ld/stat", syscall(SYS_gettid));
	stat_fd = open(path, O_RDONLY | O_CLOEXEC);
	return stat_fd < 0 ? -errno : 0;
}

int watchdog_start(struct helper *helper)
{
	sigset_t all, old;
	pthread_t thread;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old); /* inherited: signals are the loop's */
	error = -pthread_create(&thread, NULL, watchdog_main, helper);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (error)
		log_error("no thread for the watchdog: %s; %s", strerror(-error), selftest_advice(error));
	else
		pthread_detach(thread);
	return error;
}
