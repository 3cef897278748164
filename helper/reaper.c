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

#include "hash.h"
#include "log.h"

#define THREADS 8
#define THREADS_PER_USER 2
#define QUEUE_PER_USER 64
#define THREAD_STACK_BYTES (256 * 1024)
#define ALARM_FIRST_NS (2 * LOOP_NS_PER_MS)
#define ALARM_AGAIN_NS LOOP_NS_PER_MS

struct owner;

struct job {
	int fd;
	struct owner *owner;
	struct reaper_tag tag;
	struct job *next, *prev;
};

/* A user who has fds waiting or being closed. Who is in the way of others may have thousands: none of them is looked at but the one
 * whose turn it is. */
struct owner {
	uint32_t uid;
	int lost; /* could not be added to the table */
	unsigned waiting, running;
	struct job *jobs; /* that wait, oldest first */
	bool is_ready;    /* in the list of those who have a job and a thread left for it */
	struct owner *next, *prev;
	UT_hash_handle hh;
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
	struct owner *owners; /* the table */
	struct owner *ready;  /* in turn */
	struct job *finished; /* closed, not yet told */
	unsigned threads;
	uint32_t files_of_users; /* not yet closed */
};

/* Under the lock, as all that follows. */
static struct owner *owner_find(const struct reaper *reaper, uint32_t uid)
{
	struct owner *owner;

	HASH_FIND(hh, reaper->owners, &uid, sizeof(uid), owner);
	return owner;
}

static struct owner *owner_get(struct reaper *reaper, uint32_t uid)
{
	struct owner *owner = owner_find(reaper, uid);

	if (owner)
		return owner;
	owner = calloc(1, sizeof(*owner));
	if (!owner)
		return NULL;
	owner->uid = uid;
	HASH_ADD(hh, reaper->owners, uid, sizeof(uid), owner);
	if (!owner->lost)
		return owner;
	free(owner);
	return NULL;
}

/* After its numbers have changed: it may be, or is no more, among those who are ready. One without any job is no more at all. */
static void owner_settle(struct reaper *reaper, struct owner *owner)
{
	bool is_ready = owner->waiting && owner->running < THREADS_PER_USER;

	if (is_ready && !owner->is_ready)
		DL_APPEND(reaper->ready, owner);
	else if (!is_ready && owner->is_ready)
		DL_DELETE(reaper->ready, owner);
	owner->is_ready = is_ready;
	if (owner->waiting || owner->running)
		return;
	HASH_DEL(reaper->owners, owner);
	free(owner);
}

/* Of each user who has a thread left in turn, the oldest. NULL: there is none. */
static struct job *job_take(struct reaper *reaper)
{
	struct owner *owner = reaper->ready;
	struct job *job;

	if (!owner)
		return NULL;
	job = owner->jobs;
	DL_DELETE(owner->jobs, job);
	owner->waiting--;
	owner->running++;
	DL_DELETE(reaper->ready, owner);
	owner->is_ready = false;
	owner_settle(reaper, owner); /* behind the others */
	return job;
}

static void *thread_main(void *argument)
{
	struct reaper *reaper = argument;
	const uint64_t one = 1;
	struct job *job;

	pthread_mutex_lock(&reaper->lock);
	while ((job = job_take(reaper))) {
		pthread_mutex_unlock(&reaper->lock);
		close(job->fd);
		pthread_mutex_lock(&reaper->lock);
		job->owner->running--;
		reaper->files_of_users -= job->owner->uid != 0;
		owner_settle(reaper, job->owner);
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

	if (reaper->threads >= THREADS || !reaper->ready || pthread_attr_init(&attributes))
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
	if (sigaction(SIGALRM, &action, NULL) < 0 || timer_create(CLOCK_MONOTONIC, &event, &reaper->alarm) < 0) {
		int error = -errno;

		log_error("no timer: %s; see ulimit -i, or LimitSIGPENDING= of the service", strerror(-error));
		return error;
	}
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

/* Better than to keep it for good: most do not block, and most that do give up on the alarm. */
static void close_without_memory(struct reaper *reaper, int fd, const struct reaper_tag *tag)
{
	log_error("out of memory: a client's fd is closed on the spot");
	reaper_close_socket(reaper, fd);
	if (tag && tag->session_id)
		reaper->done(reaper->context, tag);
}

int reaper_put(struct reaper *reaper, int fd, uint32_t uid, const struct reaper_tag *tag)
{
	struct job *job = calloc(1, sizeof(*job));
	bool is_full;

	pthread_mutex_lock(&reaper->lock);
	if (job)
		job->owner = owner_get(reaper, uid);
	if (!job || !job->owner) {
		pthread_mutex_unlock(&reaper->lock);
		free(job);
		close_without_memory(reaper, fd, tag);
		return 0;
	}
	job->fd = fd;
	if (tag)
		job->tag = *tag;
	DL_APPEND(job->owner->jobs, job);
	reaper->files_of_users += uid != 0;
	is_full = ++job->owner->waiting > QUEUE_PER_USER;
	owner_settle(reaper, job->owner);
	thread_start(reaper);
	pthread_mutex_unlock(&reaper->lock);
	return is_full ? -EDQUOT : 0;
}

uint32_t reaper_files_of_users(struct reaper *reaper)
{
	uint32_t files;

	pthread_mutex_lock(&reaper->lock);
	files = reaper->files_of_users;
	pthread_mutex_unlock(&reaper->lock);
	return files;
}

bool reaper_is_full(struct reaper *reaper, uint32_t uid)
{
	const struct owner *owner;
	bool is_full;

	pthread_mutex_lock(&reaper->lock);
	owner = owner_find(reaper, uid);
	is_full = owner && owner->waiting > QUEUE_PER_USER;
	pthread_mutex_unlock(&reaper->lock);
	return is_full;
}
