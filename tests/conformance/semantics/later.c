/* SPDX-License-Identifier: BSD-2-Clause */
/* Time, signals, and what another thread does in a while. */
#include "semantics.h"

#include <sys/syscall.h>

#define ACTIONS_MAX 16

enum kind { PUT, PUT_BYTES, SHUTDOWN, CLOSE, RESET, DRAIN, SIGNAL, CALL };

struct action {
	pthread_t thread, target;
	enum kind kind;
	unsigned ms, seed;
	int fd, number;
	const char *text;
	size_t bytes;
	void (*function)(void *);
	void *argument;
};

static struct action actions[ACTIONS_MAX];
static unsigned action_count;
volatile sig_atomic_t handled;

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

	note(field, "%s", passed + 1 < ms ? "too short" : passed > 2000 + ms ? "far too long" : "yes");
}

static void *act(void *argument)
{
	struct action *action = argument;
	struct linger none = { .l_onoff = 1 };

	pause_ms(action->ms);
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
	return NULL;
}

/* The threads of this file take no signals: a signal to the process reaches the case's own thread. */
static void start(struct action action)
{
	sigset_t all, before;

	if (action_count == ACTIONS_MAX)
		abort();
	struct action *kept = &actions[action_count++];
	*kept = action;
	kept->target = pthread_self();
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (pthread_create(&kept->thread, NULL, act, kept))
		abort();
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void later_put(unsigned ms, int fd, const char *text)
{
	start((struct action){ .kind = PUT, .ms = ms, .fd = fd, .text = text });
}

void later_put_bytes(unsigned ms, int fd, size_t bytes, unsigned seed)
{
	start((struct action){ .kind = PUT_BYTES, .ms = ms, .fd = fd, .bytes = bytes, .seed = seed });
}

void later_shutdown(unsigned ms, int fd, int how)
{
	start((struct action){ .kind = SHUTDOWN, .ms = ms, .fd = fd, .number = how });
}

void later_close(unsigned ms, int fd)
{
	start((struct action){ .kind = CLOSE, .ms = ms, .fd = fd });
}

void later_reset(unsigned ms, int fd)
{
	start((struct action){ .kind = RESET, .ms = ms, .fd = fd });
}

void later_drain(unsigned ms, const char *field, int fd, size_t bytes)
{
	start((struct action){ .kind = DRAIN, .ms = ms, .fd = fd, .text = field, .bytes = bytes });
}

void later_signal(unsigned ms, int number)
{
	start((struct action){ .kind = SIGNAL, .ms = ms, .number = number });
}

void later_call(unsigned ms, void (*function)(void *), void *argument)
{
	start((struct action){ .kind = CALL, .ms = ms, .function = function, .argument = argument });
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
