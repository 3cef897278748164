/* SPDX-License-Identifier: BSD-2-Clause */
/* The reaper: closing fds that clients sent.
 *
 * close() can block: a TCP socket with SO_LINGER lingers when its application has closed it meanwhile and ours is the last
 * fd; a FUSE file asks its server. There are two ways out:
 *
 *  - A socket is closed on the loop, quickly, under an alarm: a timer sends this thread a signal every millisecond
 *    from before close() until the loop goes to sleep (setting and stopping it is dearer than most closes). A lingering close gives up on a signal, and so do those of the fds that wait in a unix
 *    socket's queue; the connection then ends in the background, FIN included. Asking SO_LINGER first would not do: its
 *    owner can set it after the question.
 *  - Anything else goes to a thread. Threads are started when there is work and end with it. A user whose files
 *    block keeps at most THREADS_PER_USER of them busy and is thrown out when QUEUE_PER_USER fds wait: the others go on.
 *
 * `lock` guards the lists; nobody blocks while holding it.
 */
#include "reaper.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

#include "log.h"

#define THREADS 8
#define THREADS_PER_USER 2
#define QUEUE_PER_USER 64
#define THREAD_STACK_BYTES (256 * 1024)
#define ALARM_FIRST_NS (2 * LOOP_NS_PER_MS)
#define ALARM_AGAIN_NS LOOP_NS_PER_MS

struct job {
	int fd;
	uint32_t uid;
	bool running;
	struct reaper_tag tag;
	struct job *next, *prev;
};

struct reaper {
	struct loop_source source; /* an eventfd: jobs are done */
	struct loop *loop;
	void (*done)(void *context, const struct reaper_tag *tag);
	void *context;
	timer_t alarm;
	bool has_alarm, alarm_rings;
	struct loop_chore alarm_off;
	pthread_mutex_t lock;
	struct job *jobs;     /* waiting and running, oldest first */
	struct job *finished; /* closed, not yet told */
	unsigned threads;
};

/* Under the lock. */
static unsigned waiting_of(const struct reaper *reaper, uint32_t uid)
{
	const struct job *job;
	unsigned waiting = 0;

	DL_FOREACH(reaper->jobs, job)
	{
		waiting += job->uid == uid && !job->running;
	}
	return waiting;
}

/* The oldest job whose user has a thread left. Under the lock. Who has none may have thousands waiting. */
static struct job *job_pick(struct reaper *reaper)
{
	uint32_t uids[THREADS];
	unsigned running = 0, own;
	struct job *job;

	DL_FOREACH(reaper->jobs, job)
	{
		if (job->running && running < THREADS)
			uids[running++] = job->uid;
	}
	DL_FOREACH(reaper->jobs, job)
	{
		if (job->running)
			continue;
		own = 0;
		for (unsigned i = 0; i < running; i++)
			own += uids[i] == job->uid;
		if (own < THREADS_PER_USER)
			return job;
	}
	return NULL;
}

static void *thread_main(void *argument)
{
	struct reaper *reaper = argument;
	const uint64_t one = 1;
	struct job *job;

	pthread_mutex_lock(&reaper->lock);
	while ((job = job_pick(reaper))) {
		job->running = true;
		pthread_mutex_unlock(&reaper->lock);
		close(job->fd);
		pthread_mutex_lock(&reaper->lock);
		DL_DELETE(reaper->jobs, job);
		DL_APPEND(reaper->finished, job);
		if (write(reaper->source.fd, &one, sizeof(one)) < 0)
			continue; /* the counter is full: it is readable anyway */
	}
	reaper->threads--;
	pthread_mutex_unlock(&reaper->lock);
	return NULL;
}

/* Under the lock. A failure is no harm: the next fd starts one. */
static void thread_start(struct reaper *reaper)
{
	pthread_attr_t attributes;
	sigset_t all, old;
	pthread_t thread;

	if (reaper->threads >= THREADS || !job_pick(reaper) || pthread_attr_init(&attributes))
		return;
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old); /* inherited: signals are the loop's */
	if (pthread_create(&thread, &attributes, thread_main, reaper) == 0)
		reaper->threads++;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attributes);
}

static void jobs_finished(struct loop_source *source, uint32_t events)
{
	struct reaper *reaper = loop_container(source, struct reaper, source);
	struct job *finished, *job, *next;
	uint64_t count;

	(void)events;
	if (read(source->fd, &count, sizeof(count)) < 0)
		return;
	pthread_mutex_lock(&reaper->lock);
	finished = reaper->finished;
	reaper->finished = NULL;
	thread_start(reaper); /* a thread may have ended just before the last reaper_put() */
	pthread_mutex_unlock(&reaper->lock);
	DL_FOREACH_SAFE(finished, job, next)
	{
		if (job->tag.session_id)
			reaper->done(reaper->context, &job->tag);
		free(job);
	}
}

static void alarm_rang(int signal_number)
{
	(void)signal_number; /* interrupting is all it is for */
}

static int alarm_open(struct reaper *reaper)
{
	/* SA_RESTART: it may come at any moment of a busy turn. A lingering close gives up all the same. */
	struct sigaction action = { .sa_handler = alarm_rang, .sa_flags = SA_RESTART };
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGALRM };

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif
	event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
	if (sigaction(SIGALRM, &action, NULL) < 0 || timer_create(CLOCK_MONOTONIC, &event, &reaper->alarm) < 0)
		return -errno;
	reaper->has_alarm = true;
	return 0;
}

static void alarm_stop(struct loop_chore *chore)
{
	struct reaper *reaper = loop_container(chore, struct reaper, alarm_off);
	static const struct itimerspec off = { { 0 }, { 0 } };

	if (reaper->alarm_rings)
		timer_settime(reaper->alarm, 0, &off, NULL);
	reaper->alarm_rings = false;
}

void reaper_alarm(struct reaper *reaper)
{
	static const struct itimerspec on = {
		.it_value = { .tv_nsec = ALARM_FIRST_NS },
		.it_interval = { .tv_nsec = ALARM_AGAIN_NS }, /* again: the first may come before close() sleeps */
	};

	if (reaper->alarm_rings)
		return;
	reaper->alarm_rings = timer_settime(reaper->alarm, 0, &on, NULL) == 0;
	loop_before_sleep(reaper->loop, &reaper->alarm_off);
}

int reaper_open(struct reaper **out, struct loop *loop, void (*done)(void *context, const struct reaper_tag *tag),
		void *context)
{
	struct reaper *reaper = calloc(1, sizeof(*reaper));
	int error;

	if (!reaper)
		return -ENOMEM;
	reaper->loop = loop;
	reaper->done = done;
	reaper->context = context;
	pthread_mutex_init(&reaper->lock, NULL);
	reaper->alarm_off.run = alarm_stop;
	reaper->source.ready = jobs_finished;
	reaper->source.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	error = reaper->source.fd < 0 ? -errno : alarm_open(reaper);
	if (!error)
		error = loop_add(loop, &reaper->source, EPOLLIN);
	if (error) {
		reaper_free(reaper);
		return error;
	}
	*out = reaper;
	return 0;
}

void reaper_free(struct reaper *reaper)
{
	bool busy;

	if (!reaper)
		return;
	if (reaper->has_alarm)
		timer_delete(reaper->alarm);
	reaper->has_alarm = false;
	pthread_mutex_lock(&reaper->lock);
	busy = reaper->threads > 0;
	pthread_mutex_unlock(&reaper->lock);
	if (busy) /* they still use it, and may never come back: the process is about to end */
		return;
	if (reaper->source.fd >= 0)
		close(reaper->source.fd);
	pthread_mutex_destroy(&reaper->lock);
	free(reaper);
}

void reaper_close_socket(struct reaper *reaper, int fd)
{
	reaper_alarm(reaper);
	close(fd);
}

int reaper_put(struct reaper *reaper, int fd, uint32_t uid, const struct reaper_tag *tag)
{
	struct job *job = calloc(1, sizeof(*job));
	unsigned waiting;

	if (!job) {
		log_error("out of memory: a client's fd stays open");
		return -EDQUOT;
	}
	job->fd = fd;
	job->uid = uid;
	if (tag)
		job->tag = *tag;
	pthread_mutex_lock(&reaper->lock);
	DL_APPEND(reaper->jobs, job);
	thread_start(reaper);
	waiting = waiting_of(reaper, uid);
	pthread_mutex_unlock(&reaper->lock);
	return waiting > QUEUE_PER_USER ? -EDQUOT : 0;
}

int reaper_is_full(struct reaper *reaper, uint32_t uid)
{
	unsigned waiting;

	pthread_mutex_lock(&reaper->lock);
	waiting = waiting_of(reaper, uid);
	pthread_mutex_unlock(&reaper->lock);
	return waiting > QUEUE_PER_USER;
}
