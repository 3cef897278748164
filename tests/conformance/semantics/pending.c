/* SPDX-License-Identifier: BSD-2-Clause */
/* Threads for which a cancellation is pending: what is a cancellation point has done nothing, what is none is not ended by it. */
#include "semantics.h"

#include <sys/mman.h>
#include <sys/sendfile.h>

#define SHUTDOWNS 8

static struct pair shared;

enum none { SHUT, SENDFILE, OPTION, COUNT, MARK };

/* Cancellation is pending when the call begins: it takes nothing. */
static void *pending(void *argument)
{
	(void)argument;
	pthread_cancel(pthread_self());
	recv(shared.b, (char[8]){ 0 }, 8, MSG_DONTWAIT);
	note("unreached", "yes");
	return NULL;
}

static void pending_cancel(struct pair *pair, int unused)
{
	pthread_t thread;
	void *value = NULL;

	(void)unused;
	shared = *pair;
	put(pair->a, "waits");
	settle();
	pthread_create(&thread, NULL, pending, NULL);
	pthread_join(thread, &value);
	note("cancelled", "%s", value == PTHREAD_CANCELED ? "yes" : "no");
	get("data", pair->b, 64, MSG_DONTWAIT);
}

/* It is pending when a close begins: nothing is closed, and the clean-up goes on with the connection. */
static void reply_and_close(void *unused)
{
	static char reply[1000000];

	(void)unused;
	get("clean-up", shared.b, 64, 0);
	TRY("reply", send(shared.b, reply, sizeof(reply), 0));
	TRY("close", close(shared.b));
}

static void *close_cancelled(void *unused)
{
	pthread_cleanup_push(reply_and_close, unused);
	pthread_cancel(pthread_self());
	close(shared.b);
	note("unreached", "yes");
	pthread_cleanup_pop(0);
	return NULL;
}

static void pending_cancel_of_close(struct pair *pair, int unused)
{
	pthread_t thread;

	(void)unused;
	shared = *pair;
	put(pair->a, "unread");
	settle();
	pthread_create(&thread, NULL, close_cancelled, NULL);
	pause_ms(2 * SOON_MS);
	drain("reply", pair->a, 1000000);
	get("end", pair->a, 64, 0);
	pthread_join(thread, NULL);
	pair->b = -1;
}

static volatile bool is_through;
static void *call_that_is_none(void *call)
{
	char byte = 'b';
	int two = 2, file = memfd_create("file", MFD_CLOEXEC);

	(void)!write(file, &byte, 1);
	lseek(file, 0, SEEK_SET);
	pthread_cancel(pthread_self());
	if ((intptr_t)call == SHUT)
		shutdown(shared.a, SHUT_WR);
	else if ((intptr_t)call == SENDFILE)
		sendfile(shared.a, file, NULL, 1); /* what would note it is a cancellation point */
	else if ((intptr_t)call == COUNT)
		ioctl(shared.b, FIONREAD, &two);
	else if ((intptr_t)call == MARK)
		sockatmark(shared.b);
	else
		setsockopt(shared.b, SOL_SOCKET, SO_RCVLOWAT, &two, sizeof(two));
	is_through = true;
	return NULL;
}

static void *send_until_it_ends(void *unused)
{
	static char bytes[60000];

	while (send(shared.a, bytes, sizeof(bytes), MSG_NOSIGNAL) > 0)
		;
	return unused;
}

static void *drain_until_it_ends(void *unused)
{
	static char bytes[100000];

	while (recv(shared.b, bytes, sizeof(bytes), 0) > 0)
		;
	return unused;
}

/* A call that is no cancellation point, in a thread for which a cancellation is pending. True: it came through it. */
static bool comes_through(int call)
{
	pthread_t thread;

	is_through = false;
	pthread_create(&thread, NULL, call_that_is_none, (void *)(intptr_t)call);
	pthread_join(thread, NULL);
	return is_through;
}

static void pending_cancel_of_none(struct pair *pair, int call)
{
	shared = *pair;
	if (call == SENDFILE) { /* to one that is gone */
		signal(SIGPIPE, SIG_IGN);
		close(pair->b);
		pair->b = -1;
		pause_ms(SOON_MS);
		TRY("first", send(pair->a, "x", 1, 0));
		pause_ms(SOON_MS);
	} else {
		put(pair->a, "waits");
		if (call == MARK)
			TRY("urgent", send(pair->a, "!", 1, MSG_OOB));
		else if (call == COUNT && set_int(pair->a, SOL_SOCKET, SO_BUSY_POLL, 1) == 0)
			put(pair->a, "by TCP");
		settle();
	}
	note("comes-through", "%s", comes_through(call) ? "yes" : "no");
}

/* A shutdown, beside two senders; again and again, for it has to wait for one of them. */
static void pending_cancel_of_shutdown(struct pair *pair, int unused)
{
	int cancelled = 0;

	(void)unused;
	for (int i = 0; i < SHUTDOWNS; i++) {
		pthread_t threads[3];

		if (i > 0)
			pair_make(&shared, true);
		else
			shared = *pair;
		pthread_create(&threads[0], NULL, drain_until_it_ends, NULL);
		pthread_create(&threads[1], NULL, send_until_it_ends, NULL);
		pthread_create(&threads[2], NULL, send_until_it_ends, NULL);
		usleep(2000 + 300 * i); /* both are at work by then; each time at another moment of a send */
		cancelled += !comes_through(SHUT);
		shutdown(shared.a, SHUT_WR);
		for (int j = 0; j < 3; j++)
			pthread_join(threads[j], NULL);
		if (i > 0) {
			close(shared.a);
			close(shared.b);
		}
	}
	note("cancelled", "%d", cancelled);
}

/* Calls that are no reason to be cancelled, in a thread that has it disabled. */
static void *immune(void *argument)
{
	char text[64];

	(void)argument;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	GET("immune", text, recv(shared.b, text, sizeof(text), 0));
	return NULL;
}

static void disabled_cancel(struct pair *pair, int unused)
{
	pthread_t thread;

	(void)unused;
	shared = *pair;
	pthread_create(&thread, NULL, immune, NULL);
	pause_ms(SOON_MS);
	TRY("cancel", pthread_cancel(thread));
	put(pair->a, "hello");
	pthread_join(thread, NULL);
	round_trip("trip", pair);
}

static const struct semantics_case cases[] = {
	{ "cancel-pending", pending_cancel, 0, 0 },
	{ "cancel-pending-close", pending_cancel_of_close, 0, 0 },
	{ "cancel-pending-sendfile", pending_cancel_of_none, SENDFILE, 0 },
	{ "cancel-pending-option", pending_cancel_of_none, OPTION, 0 },
	{ "cancel-pending-count", pending_cancel_of_none, COUNT, 0 },
	{ "cancel-pending-mark", pending_cancel_of_none, MARK, 0 },
	{ "cancel-pending-shutdown", pending_cancel_of_shutdown, 0, 0 },
	{ "cancel-disabled", disabled_cancel, 0, 0 },
};
FAMILY(pending);
