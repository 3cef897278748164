/* SPDX-License-Identifier: BSD-2-Clause */
/* What bpf/stops.bpf.c notes of a process that sleeps in recv on an end in the sockhash, where each of these ends the sleep with EAGAIN
 * (fact 4) or leaves it alone:
 *
 *	SIGSTOP, then SIGCONT                        noted by the time recv is back, also where the two come at once
 *	the same, with another thread asleep         likewise
 *	a handler, a full send buffer that drains    not
 *	SIGTSTP blocked or ignored, SIGCONT alone    not
 *
 * And that who gets the words cannot write them.
 */
#define _GNU_SOURCE
#include "kernel_rig.h"

#include <sys/wait.h>

#include "datapath.h"

#define LIMIT_MS 20000
#define SLEEP_MS 2000

static struct rig rig;
static volatile const uint64_t *word;

enum event { STOP, STOP_AT_ONCE, HANDLER, ROOM, STOP_BLOCKED, STOP_IGNORED, CONTINUE };

static void handler(int number)
{
	(void)number;
}

static void drain(int fd)
{
	char buffer[65536];

	while (recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT) > 0)
		;
}

/* In a child, once the parent sleeps. */
static pid_t meanwhile(enum event event)
{
	pid_t parent = getpid(), child = fork();

	require(child >= 0);
	if (child)
		return child;
	require(wait_until(process_in_state(parent, 'S'), LIMIT_MS));
	nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
	if (event == STOP || event == STOP_AT_ONCE) {
		kill(parent, SIGSTOP);
		require(event == STOP_AT_ONCE || wait_until(process_in_state(parent, 'T'), LIMIT_MS));
		kill(parent, SIGCONT);
	} else if (event == ROOM) {
		drain(rig.ends[0]);
	} else {
		kill(parent, event == HANDLER ? SIGUSR1 : event == CONTINUE ? SIGCONT : SIGTSTP);
	}
	_exit(0);
}

static void finish(pid_t child)
{
	int status;

	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	require(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void expect(const char *what, enum event event, bool ends_early, bool noted)
{
	uint64_t before = *word, begun = now_ns();
	pid_t child = meanwhile(event);
	char byte;
	ssize_t result = recv(rig.ends[1], &byte, 1, 0);
	int error = errno;
	uint64_t after = *word;
	bool early = now_ns() - begun < SLEEP_MS * 1000000ull;

	check(result < 0 && error == EAGAIN && early == ends_early && (after != before) == noted, "stops", what,
	      "%zd %s, early %d, noted %d", result, strerror(error), early, after != before);
	if (noted)
		check(after >> 32 == (uint32_t)getpid(), "stops", "of-this-process", "%llx", (unsigned long long)after);
	finish(child);
}

/* The main thread, which the signal is given to, sleeps in pthread_join(). */
static void expect_in_thread(void)
{
	uint64_t before = *word;
	struct sleeper sleeper;

	sleeper_start(&sleeper, rig.ends[1], 1, 0);
	pid_t child = meanwhile(STOP);
	sleeper_join(&sleeper);
	check(sleeper.result < 0 && sleeper.error == EAGAIN && *word != before, "stops", "other-thread", "%zd %s",
	      sleeper.result, strerror(sleeper.error));
	finish(child);
}

static void fill(int fd)
{
	static const char bytes[65536];

	rig.control->mode = KERNEL_TEST_PASS;
	while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	require(errno == EAGAIN);
}

int main(void)
{
	struct datapath_stops *stops;
	sigset_t stop_signal;
	uint32_t count;
	int error, fd;

	error = datapath_stops_open(&stops);
	if (!check(error == 0, "stops", "loads", "%s", strerror(-error)))
		return kernel_test_finish();
	fd = datapath_stops_words(stops, &count);
	check(mmap(NULL, count * 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED, "stops",
	      "words-cannot-be-mapped-for-writing", "they can");
	const uint64_t *words = mmap(NULL, count * 8, PROT_READ, MAP_SHARED, fd, 0);
	require(words != MAP_FAILED);
	check(mprotect((void *)words, count * 8, PROT_READ | PROT_WRITE) < 0, "stops", "words-cannot-be-made-writable",
	      "they can");
	check(bpf_map_update_elem(fd, &(uint32_t){ 0 }, &(uint64_t){ 0 }, BPF_ANY) < 0, "stops",
	      "words-cannot-be-updated", "they can");
	word = &words[(uint32_t)getpid() % count];

	rig_load(&rig);
	rig_connect_joined(&rig);
	set_receive_limit(rig.ends[1], SLEEP_MS);
	sigemptyset(&stop_signal);
	sigaddset(&stop_signal, SIGTSTP);
	sigaction(SIGUSR1, &(struct sigaction){ .sa_handler = handler, .sa_flags = SA_RESTART }, NULL);
	expect("stop", STOP, true, true);
	expect("stop-at-once", STOP_AT_ONCE, true, true);
	expect_in_thread();
	expect("handler", HANDLER, true, false);
	expect("continue-alone", CONTINUE, false, false);
	sigprocmask(SIG_BLOCK, &stop_signal, NULL);
	expect("stop-blocked", STOP_BLOCKED, false, false);
	signal(SIGTSTP, SIG_IGN);
	sigprocmask(SIG_UNBLOCK, &stop_signal, NULL);
	expect("stop-ignored", STOP_IGNORED, false, false);
	fill(rig.ends[1]);
	expect("room", ROOM, true, false);
	rig_close(&rig);
	rig_unload(&rig);
	datapath_stops_close(stops);
	return kernel_test_finish();
}
