/* SPDX-License-Identifier: BSD-2-Clause */
/* The loop: one epoll set, one timerfd for all timers, deferred freeing.
 *
 * A turn: wait, run the ready sources, free what they buried. A source that is removed in a turn loses its callback at
 * once, so events that the same epoll_wait() returned for it fall flat; its memory lives until the turn's end.
 *
 * While chores are wanted the loop does not sleep but looks once more; it finds nothing, and does them. Under load they wait:
 * what one request sets up for the next need not be taken down in between.
 *
 * The timerfd is set only when an earlier deadline appears: a join that lengthens a queue costs no system call here.
 */
#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "loop.h"

#define EVENTS_PER_TURN 64

struct loop {
	int epoll_fd;
	struct loop_source clock; /* the timerfd */
	struct loop_timer *timers;
	uint64_t clock_due_ns; /* what the timerfd is set to; 0: not set */
	struct loop_corpse *corpses;
	struct loop_chore *chores, *turn_chores;
	bool stop;
};

/* For the watchdog's thread, which must not depend on when the loop is freed. There is one loop. */
static _Atomic uint64_t turn_number;     /* odd while sources are being served */
static _Atomic uint64_t request_turns;   /* of these, how many served more than timers */
static _Atomic uint32_t turn_is_awaited; /* a futex: the watchdog sleeps until it is 0 */

uint64_t loop_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * LOOP_NS_PER_S + now.tv_nsec;
}

static void clock_set(struct loop *loop, uint64_t due_ns)
{
	struct itimerspec at = {
		.it_value = { .tv_sec = due_ns / LOOP_NS_PER_S, .tv_nsec = due_ns % LOOP_NS_PER_S },
	};

	loop->clock_due_ns = due_ns;
	timerfd_settime(loop->clock.fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static void clock_ready(struct loop_source *source, uint32_t events)
{
	struct loop *loop = loop_container(source, struct loop, clock);
	uint64_t ticks, now_ns, next_ns = 0;

	(void)events;
	if (read(source->fd, &ticks, sizeof(ticks)) < 0)
		return; /* reset meanwhile */
	loop->clock_due_ns = 0;
	now_ns = loop_now_ns();
	for (struct loop_timer *timer = loop->timers; timer; timer = timer->next) {
		if (!timer->due_ns || timer->due_ns > now_ns)
			continue;
		timer->due_ns = 0;
		timer->expired(timer);
	}
	for (struct loop_timer *timer = loop->timers; timer; timer = timer->next)
		if (timer->due_ns && (!next_ns || timer->due_ns < next_ns))
			next_ns = timer->due_ns;
	if (next_ns && (!loop->clock_due_ns || next_ns < loop->clock_due_ns))
		clock_set(loop, next_ns);
}

int loop_open(struct loop **out)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int error;

	if (!loop)
		return -ENOMEM;
	loop->clock.fd = -1;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0) {
		error = -errno;
		goto out_free;
	}
	loop->clock.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (loop->clock.fd < 0) {
		error = -errno;
		goto out_free;
	}
	loop->clock.ready = clock_ready;
	error = loop_add(loop, &loop->clock, EPOLLIN);
	if (error)
		goto out_free;
	*out = loop;
	return 0;
out_free:
	loop_close(loop);
	return error;
}

static void corpses_release(struct loop *loop)
{
	while (loop->corpses) {
		struct loop_corpse *corpse = loop->corpses;

		loop->corpses = corpse->next;
		corpse->release(corpse);
	}
}

void loop_close(struct loop *loop)
{
	if (!loop)
		return;
	corpses_release(loop);
	if (loop->clock.fd >= 0)
		close(loop->clock.fd);
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	free(loop);
}

uint64_t loop_turn(void)
{
	return atomic_load(&turn_number);
}

uint64_t loop_request_turns(void)
{
	return atomic_load(&request_turns);
}

void loop_await_request(uint64_t turns)
{
	atomic_store(&turn_is_awaited, 1);
	while (atomic_load(&request_turns) == turns && atomic_load(&turn_is_awaited))
		syscall(SYS_futex, &turn_is_awaited, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
}

/* A turn of timers alone locks no socket, and is not worth waking the watchdog: there is one a second while pairs are
 * armed. */
static void turn_begin(bool timers_only)
{
	atomic_fetch_add(&turn_number, 1);
	if (timers_only)
		return;
	atomic_fetch_add(&request_turns, 1);
	if (atomic_load(&turn_is_awaited)) {
		atomic_store(&turn_is_awaited, 0);
		syscall(SYS_futex, &turn_is_awaited, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	}
}

static void chores_do(struct loop_chore **chores)
{
	while (*chores) {
		struct loop_chore *chore = *chores;

		*chores = chore->next;
		chore->wanted = false;
		chore->run(chore);
	}
}

int loop_run(struct loop *loop)
{
	struct epoll_event events[EVENTS_PER_TURN];

	while (!loop->stop) {
		int count = epoll_wait(loop->epoll_fd, events, EVENTS_PER_TURN, loop->chores ? 0 : -1);

		if (count < 0 && errno != EINTR)
			return -errno;
		if (count == 0) {
			chores_do(&loop->chores);
			continue;
		}
		turn_begin(count == 1 && events[0].data.ptr == &loop->clock);
		for (int i = 0; i < count; i++) {
			struct loop_source *source = events[i].data.ptr;

			if (source->ready)
				source->ready(source, events[i].events);
		}
		chores_do(&loop->turn_chores);
		corpses_release(loop);
		atomic_fetch_add(&turn_number, 1);
	}
	return 0;
}

void loop_stop(struct loop *loop)
{
	loop->stop = true;
}

static void chore_add(struct loop_chore **chores, struct loop_chore *chore)
{
	if (chore->wanted)
		return;
	chore->wanted = true;
	chore->next = *chores;
	*chores = chore;
}

void loop_before_sleep(struct loop *loop, struct loop_chore *chore)
{
	chore_add(&loop->chores, chore);
}

void loop_after_turn(struct loop *loop, struct loop_chore *chore)
{
	chore_add(&loop->turn_chores, chore);
}

int loop_add(struct loop *loop, struct loop_source *source, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = source };

	return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, source->fd, &event) < 0 ? -errno : 0;
}

void loop_pause(struct loop *loop, struct loop_source *source, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = source };

	epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, source->fd, &event);
}

void loop_suspend(struct loop *loop, struct loop_source *source)
{
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
}

void loop_remove(struct loop *loop, struct loop_source *source)
{
	source->ready = NULL;
	/* Explicitly: a client may hold a duplicate of the same open file, and closing ours would not remove it. */
	loop_suspend(loop, source);
}

void loop_bury(struct loop *loop, struct loop_corpse *corpse)
{
	corpse->next = loop->corpses;
	loop->corpses = corpse;
}

void loop_timer_add(struct loop *loop, struct loop_timer *timer, void (*expired)(struct loop_timer *timer))
{
	timer->expired = expired;
	timer->due_ns = 0;
	timer->next = loop->timers;
	loop->timers = timer;
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t due_ns)
{
	if (timer->due_ns && timer->due_ns <= due_ns)
		return;
	timer->due_ns = due_ns;
	if (!loop->clock_due_ns || due_ns < loop->clock_due_ns)
		clock_set(loop, due_ns);
}
