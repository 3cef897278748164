/* SPDX-License-Identifier: BSD-2-Clause */
/* The daemon's only loop: fds, timers, signals. Single-threaded; nothing in it ever blocks. */
#ifndef SMACCEL_HELPER_LOOP_H
#define SMACCEL_HELPER_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

struct loop;

/* An fd that is watched. The owner embeds it, and keeps the memory until loop_bury()'s callback has run, because an
 * event of the same turn may still name it. */
struct loop_source {
	int fd;
	void (*ready)(struct loop_source *source, uint32_t events); /* NULL: removed */
};

/* One-shot. Few of them (a list is searched): a module with many deadlines keeps its own queue behind one timer. */
struct loop_timer {
	void (*expired)(struct loop_timer *timer);
	uint64_t due_ns; /* 0: not set */
	struct loop_timer *next;
};

/* Memory to be freed when the turn is over. */
struct loop_corpse {
	void (*release)(struct loop_corpse *corpse);
	struct loop_corpse *next;
};

/* What can wait: until the turn is over, or until there is nothing else to do. */
struct loop_chore {
	void (*run)(struct loop_chore *chore);
	bool wanted;
	struct loop_chore *next;
};

int loop_open(struct loop **out); /* 0 or -errno */
void loop_close(struct loop *loop);
/* Turns until loop_stop(). 0 or -errno. */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/* For the watchdog's thread: the number of the turn; it differs between one turn and the next, and between waiting and
 * working. loop_request_turns() counts those that serve more than timers; loop_await_request() sleeps until there
 * were more than so many. */
uint64_t loop_turn(void);
static inline bool loop_turn_is_busy(uint64_t turn)
{
	return turn & 1;
}
uint64_t loop_request_turns(void);
void loop_await_request(uint64_t turns);

/* Has it run once, when there is nothing more to do and before the loop sleeps. One that is wanted already stays so. */
void loop_before_sleep(struct loop *loop, struct loop_chore *chore);
/* The same for the end of this turn. Memory that is buried in it is still there. */
void loop_after_turn(struct loop *loop, struct loop_chore *chore);

int loop_add(struct loop *loop, struct loop_source *source, uint32_t events);
void loop_pause(struct loop *loop, struct loop_source *source, uint32_t events); /* changes what is waited for */
void loop_remove(struct loop *loop, struct loop_source *source);                 /* the fd stays the owner's */
void loop_suspend(struct loop *loop, struct loop_source *source); /* not watched at all, until loop_add() */
void loop_bury(struct loop *loop, struct loop_corpse *corpse);

void loop_timer_add(struct loop *loop, struct loop_timer *timer, void (*expired)(struct loop_timer *timer));
/* Sets the timer to due_ns (loop_now_ns() scale) if it is not set to an earlier time. */
void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t due_ns);
uint64_t loop_now_ns(void); /* CLOCK_MONOTONIC */

/* The struct that embeds a source, timer, corpse or chore. */
#define loop_container(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

#define LOOP_NS_PER_US 1000ull
#define LOOP_NS_PER_MS 1000000ull
#define LOOP_NS_PER_S 1000000000ull

#endif
