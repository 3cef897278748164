/* SPDX-License-Identifier: BSD-2-Clause */
/* Time, signals, and what another thread does in a while. */
#include "semantics.h"

/* The kernel counts a time-out in jiffies and begins in the middle of one: plain TCP too may be early by that much. And by more where a
 * virtual CPU's ticks come late: an eighth. */
#define JIFFY_MS 11

#define ACTIONS_MAX 16

enum kind { PUT, PUT_BYTES, SHUTDOWN, CLOSE, RESET, DRAIN, SIGNAL, CALL };

struct action {
	pthread_t thread, target;
	pid_t target_tid;
	enum kind kind;
	unsigned ms, seed;
	int fd, number;
	const char *text;
	size_t bytes;
	void (*function)(void *);
	void *argument;
	_Atomic bool done;
};

static struct action actions[ACTIONS_MAX];
static unsigned action_count;
volatile sig_atomic_t handled;
bool later_ends_first;

uint64_t clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void pause_ms(unsigned ms)
{
	struct timespec left = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

void settle(void)
{
	pause_ms(15);
}

void note_waited(const char *field, uint64_t start_ms, unsigned ms)
{
	uint64_t passed = clock_ms() - start_ms;

	note(field, "%s", passed + JIFFY_MS + ms / 8 < ms ? "too short" : passed > 2000 + ms ? "far too long" : "yes");
}

void wait_asleep(pid_t tid)
{
	char name[64], text[128] = "";

	snprintf(name, sizeof(name), "/proc/%d/stat", (int)tid);
	for (int i = 0; i < 200; i++) {
		int fd = open(name, O_RDONLY | O_CLOEXEC);
		ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

		if (fd >= 0)
			close(fd);
		if (got <= 0)
			return;
		const char *state = strrchr(text, ')');
		if (state && state[2] == 'S')
			return;
		pause_ms(1);
	}
}

/* What was to happen at an earlier time has happened, however late the threads of a busy machine are. */
static void wait_earlier(const struct action *action)
{
	for (const struct action *earlier = actions; earlier < action; earlier++)
		for (int i = 0; i < 1000 && earlier->ms < action->ms && !earlier->done && earlier->kind != DRAIN; i++)
			pause_ms(1);
}

/* Whoever is awake for the end has seen it before the reset comes. */
static void end_first(const struct action *action)
{
	if (!later_ends_first || (action->kind != CLOSE && action->kind != RESET))
		return;
	shutdown(action->fd, SHUT_WR);
	settle();
}

static void *act(void *argument)
{
	struct action *action = argument;
	struct linger none = { .l_onoff = 1 };

	pause_ms(action->ms);
	wait_earlier(action);
	if (action->ms >= SOON_MS)
		wait_asleep(action->target_tid);
	end_first(action);
	switch (action->kind) {
	case PUT:
		put(action->fd, action->text);
		break;
	case PUT_BYTES:
		put_bytes(action->fd, action->bytes, action->seed);
		break;
	case SHUTDOWN:
		shutdown(action->fd, action->number);
		break;
	case RESET:
		setsockopt(action->fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
		/* fall through */
	case CLOSE:
		close(action->fd);
		break;
	case DRAIN:
		drain(action->text, action->fd, action->bytes);
		break;
	case SIGNAL:
		pthread_kill(action->target, action->number);
		break;
	case CALL:
		action->function(action->argument);
		break;
	}
	action->done = true;
	return NULL;
}

/* The threads of this file take no signals: a signal to the process reaches the case's own thread. */
static void start(const struct action *wanted)
{
	sigset_t all, before;

	if (action_count == ACTIONS_MAX)
		abort();
	struct action *kept = &actions[action_count++];
	*kept = *wanted;
	kept->target = pthread_self();
	kept->target_tid = gettid();
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (pthread_create(&kept->thread, NULL, act, kept))
		abort();
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void later_put(unsigned ms, int fd, const char *text)
{
	start(&(struct action){ .kind = PUT, .ms = ms, .fd = fd, .text = text });
}

void later_put_bytes(unsigned ms, int fd, size_t bytes, unsigned seed)
{
	start(&(struct action){ .kind = PUT_BYTES, .ms = ms, .fd = fd, .bytes = bytes, .seed = seed });
}

void later_shutdown(unsigned ms, int fd, int how)
{
	start(&(struct action){ .kind = SHUTDOWN, .ms = ms, .fd = fd, .number = how });
}

void later_close(unsigned ms, int fd)
{
	start(&(struct action){ .kind = CLOSE, .ms = ms, .fd = fd });
}

void later_reset(unsigned ms, int fd)
{
	start(&(struct action){ .kind = RESET, .ms = ms, .fd = fd });
}

void later_drain(unsigned ms, const char *field, int fd, size_t bytes)
{
	start(&(struct action){ .kind = DRAIN, .ms = ms, .fd = fd, .text = field, .bytes = bytes });
}

void later_signal(unsigned ms, int number)
{
	start(&(struct action){ .kind = SIGNAL, .ms = ms, .number = number });
}

void later_call(unsigned ms, void (*function)(void *), void *argument)
{
	start(&(struct action){ .kind = CALL, .ms = ms, .function = function, .argument = argument });
}

void later_join(void)
{
	while (action_count > 0)
		pthread_join(actions[--action_count].thread, NULL);
}

static void count_signal(int number)
{
	(void)number;
	handled++;
}

void handle(int number, int flags)
{
	struct sigaction action = { .sa_handler = count_signal, .sa_flags = flags };

	sigaction(number, &action, NULL);
}
