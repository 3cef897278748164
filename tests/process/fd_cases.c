/* SPDX-License-Identifier: BSD-2-Clause */
/* What becomes of the number: dup, dup2 over it, closefrom, close from another thread. */
#define _GNU_SOURCE
#include "process_case.h"

#include <sys/syscall.h>

/* ---- everything is closed at once: FIN, and the shim's own fds survive or are made anew ---- */
static void subject_closefrom(struct end *end)
{
	(void)end;
	closefrom(3);
	pair_prove();
}

static void subject_close_range(struct end *end)
{
	must(close_range(3, ~0u, 0));
	(void)end;
	pair_prove();
}

static void subject_close_range_unshare(struct end *end)
{
	must(close_range(3, ~0u, CLOSE_RANGE_UNSHARE));
	(void)end;
	pair_prove();
}

/* By brute force, behind libc's back: the shim finds its own fds gone, and their numbers taken by files. */
static void subject_close_raw(struct end *end)
{
	int numbers[64], count = 0, file;
	DIR *directory = fds_list();

	for (struct dirent *entry; count < 64 && (entry = readdir(directory));)
		if (atoi(entry->d_name) > STDERR_FILENO && atoi(entry->d_name) != dirfd(directory))
			numbers[count++] = atoi(entry->d_name);
	closedir(directory);
	(void)end;
	must(syscall(SYS_close_range, 3, ~0u, 0));
	file = must(open("/dev/null", O_RDWR | O_CLOEXEC));
	for (int i = 0; i < count; i++)
		if (numbers[i] != file)
			must(syscall(SYS_dup3, file, numbers[i], O_CLOEXEC));
	pair_prove();
	for (int i = 0; i < count; i++)
		if (must(syscall(SYS_write, numbers[i], "x", 1)) != 1)
			fail("fd %d is no longer the file", numbers[i]);
}

static void driver_eof(struct end *end)
{
	end_expect_eof(end, 2000);
}

static void subject_close_range_cloexec(struct end *end)
{
	must(close_range(3, ~0u, CLOSE_RANGE_CLOEXEC));
	if (!(must(fcntl(end->fd, F_GETFD)) & FD_CLOEXEC))
		fail("no FD_CLOEXEC");
	end_turns(end, WARM_TURNS, false);
	end_duplex(end, GOES_ON_BYTES, GOES_ON_BYTES);
	must(close(end->fd));
	pair_prove();
}

/* ---- dup2 over an accelerated fd: FIN; the number is something else from then on ---- */
static void subject_dup2_over(struct end *end)
{
	int both[2];
	char text[8];

	must(pipe2(both, O_CLOEXEC));
	must(dup2(both[0], end->fd));
	must(write(both[1], "through", 8));
	if (must(read(end->fd, text, sizeof(text))) != 8 || strcmp(text, "through"))
		fail("the pipe under the old number gave something else");
	errno = 0;
	if (recv(end->fd, text, 1, MSG_DONTWAIT) != -1 || errno != ENOTSOCK)
		fail("recv on a pipe: %s", strerror(errno));
	must(close(both[0]));
	must(close(both[1]));
	must(close(end->fd));
}

/* A second, accelerated connection is put over the first: the number now talks to the second one's peer. */
static void subject_dup2_connection(struct end *end)
{
	struct end ends[2];

	pair_open(ends);
	pair_turns(ends, WARM_TURNS);
	must(dup3(ends[0].fd, end->fd, O_CLOEXEC));
	must(close(ends[0].fd));
	ends[0].fd = end->fd;
	pair_turns(ends, WARM_TURNS);
	must(close(ends[0].fd));
	end_expect_eof(&ends[1], 1000);
	must(close(ends[1].fd));
}

static void subject_dup2_self(struct end *end)
{
	for (int i = 0; i < 20; i++)
		if (must(dup2(end->fd, end->fd)) != end->fd)
			fail("dup2 to itself");
	errno = 0;
	if (dup3(end->fd, end->fd, 0) != -1 || errno != EINVAL)
		fail("dup3 to itself: %s", strerror(errno));
	end_turns(end, WARM_TURNS, false);
	end_duplex(end, GOES_ON_BYTES, GOES_ON_BYTES);
	must(close(end->fd));
}

/* ---- the original number is closed, and reused by a file, while duplicates go on ---- */
static int duplicate(int fd, int how)
{
	switch (how) {
	case 0:
		return must(dup(fd));
	case 1:
		return must(fcntl(fd, F_DUPFD, 40));
	case 2:
		return must(fcntl(fd, F_DUPFD_CLOEXEC, 3));
	case 3:
		return must(dup2(fd, 50));
	default:
		return must(dup3(fd, 51, O_CLOEXEC));
	}
}

static void subject_dup(struct end *end)
{
	for (int i = 0; i < 10; i++) {
		int old = end->fd;
		char byte;

		end->fd = duplicate(old, i % 5);
		must(close(old));
		int file = must(open("/dev/zero", O_RDONLY | O_CLOEXEC));
		end_turns(end, WARM_TURNS / 2, false);
		if (must(read(file, &byte, 1)) != 1 || byte)
			fail("the file under the old number gave something else");
		must(close(file));
	}
	end_duplex(end, GOES_ON_BYTES, GOES_ON_BYTES);
	must(close(end->fd));
	end->fd = 0;
}

static void driver_dup(struct end *end)
{
	end_turns(end, 10 * (WARM_TURNS / 2), true);
	end_duplex(end, GOES_ON_BYTES, GOES_ON_BYTES);
	end_expect_eof(end, 2000);
}

/* FIN waits for the last duplicate. */
static void subject_dup_last(struct end *end)
{
	int second = must(dup(end->fd));

	must(close(end->fd));
	note_wait(note_fds[0]);
	must(close(second));
}

static void driver_dup_last(struct end *end)
{
	end_expect_quiet(end, 60);
	note_send(note_fds[1]);
	end_expect_eof(end, 2000);
}

/* ---- a thread in recv, another closes: TCP lets the reader have its message, then the connection ends ---- */
static _Atomic pid_t reader_tid;

/* It has begun, and needs no CPU. */
static bool is_about_to_sleep(const _Atomic pid_t *tid)
{
	char path[64], state = 0;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)*tid);
	FILE *file = *tid ? fopen(path, "re") : NULL;
	return file && fscanf(file, "%*[^)]) %c", &state) == 1 && fclose(file) == 0 && state == 'S';
}

static void *receive_last(void *argument)
{
	struct end *end = argument;

	reader_tid = (pid_t)syscall(SYS_gettid);
	end_receive(end, TURN_BYTES);
	if (recv(end->fd, &(char){ 0 }, 1, 0) != -1 || errno != EBADF)
		fail("recv on a closed number: %s", strerror(errno));
	return NULL;
}

static void subject_thread_close(struct end *end)
{
	struct end reader = *end;
	pthread_t thread;

	if (pthread_create(&thread, NULL, receive_last, &reader))
		fail("pthread_create");
	while (!is_about_to_sleep(&reader_tid))
		pause_us(1000);
	usleep(50000); /* no event says that it sleeps in recv, and not on its way there */
	must(close(end->fd));
	note_send(note_fds[0]);
	pthread_join(thread, NULL);
	pair_prove();
}

static void driver_thread_close(struct end *end)
{
	note_wait(note_fds[1]);
	end_send(end, TURN_BYTES);
	end_expect_eof(end, 2000);
}

static void *receive_eof(void *argument)
{
	char byte;

	if (must(recv(*(int *)argument, &byte, 1, 0)) != 0)
		fail("a byte where the end of file should be");
	return NULL;
}

/* shutdown() wakes the readers, with end of file. */
static void subject_thread_shutdown(struct end *end)
{
	pthread_t threads[2];

	for (int i = 0; i < 2; i++)
		if (pthread_create(&threads[i], NULL, receive_eof, &end->fd))
			fail("pthread_create");
	usleep(50000);
	must(shutdown(end->fd, SHUT_RDWR));
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	must(close(end->fd));
}

static const struct process_case cases[] = {
	{ "closefrom", subject_closefrom, driver_eof, false },
	{ "close-range", subject_close_range, driver_eof, false },
	{ "close-range-unshare", subject_close_range_unshare, driver_eof, false },
	{ "close-raw", subject_close_raw, driver_eof, false },
	{ "close-range-cloexec", subject_close_range_cloexec, driver_goes_on, true },
	{ "dup2-over", subject_dup2_over, driver_eof, true },
	{ "dup2-connection", subject_dup2_connection, driver_eof, true },
	{ "dup2-self", subject_dup2_self, driver_goes_on, true },
	{ "dup", subject_dup, driver_dup, true },
	{ "dup-last", subject_dup_last, driver_dup_last, true },
	{ "thread-close", subject_thread_close, driver_thread_close, true },
	{ "thread-shutdown", subject_thread_shutdown, driver_eof, true },
};

int main(int argc, char **argv)
{
	return case_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
