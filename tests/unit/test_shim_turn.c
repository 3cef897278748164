/* SPDX-License-Identifier: BSD-2-Clause */
/* turn.c: what becomes of a send that waits for its turn. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../preload/clock.h"
#include "../../preload/conn.h"
#include "../../preload/fork.h"
#include "../../preload/intercept.h"
#include "../../preload/ledger.h"
#include "../../preload/real.h"
#include "../../preload/threads.h"
#include "../../preload/turn.h"

#define WAITS_US 20000     /* time to come to the wait */
#define ANOTHER 0x12345671 /* token of a sender of another process */
#define WANTED 0x80000000  /* this one has waited for long */
#define BYTES 1000
#define TRIES 20 /* the machine may be busy */

static int ends[2];
static struct ledger_cell ledger;

struct outcome {
	ssize_t result;
	int error;
};

static void *sender(void *outcome_out)
{
	static const char bytes[BYTES];
	struct outcome *outcome = outcome_out;

	outcome->result = wrap_send(ends[0], bytes, sizeof(bytes), MSG_NOSIGNAL);
	outcome->error = errno;
	return NULL;
}

static void start_sender(struct ledger_half *own, pthread_t *thread, struct outcome *outcome)
{
	atomic_store(&own->sender, ANOTHER);
	assert_int_equal(pthread_create(thread, NULL, sender, outcome), 0);
	usleep(WAITS_US);
}

static struct ledger_half *open_armed(void)
{
	struct conn *conn;

	memset(&ledger, 0, sizeof(ledger));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	assert_non_null(conn = conn_open(ends[0], true));
	atomic_store(&conn->ledger, &ledger);
	atomic_store(&conn->given_away, 1); /* so that the ledger has the word */
	conn_state_set(conn, CONN_ARMED, REASON_NONE);
	return ledger_own(conn, &ledger);
}

static void expect_bytes(void)
{
	char bytes[2 * BYTES];

	assert_int_equal(recv(ends[1], bytes, sizeof(bytes), MSG_DONTWAIT), BYTES);
	close(ends[1]);
}

/* False: this thread was so late that the turn has been taken from its holder. */
static bool turn_is_waited_for(void)
{
	struct ledger_half *own = open_armed();
	struct outcome outcome;
	pthread_t thread;
	char byte;

	start_sender(own, &thread, &outcome);
	ssize_t peeked = recv(ends[1], &byte, 1, MSG_DONTWAIT | MSG_PEEK);
	bool in_time = (atomic_load(&own->sender) & ~WANTED) == ANOTHER;

	if (in_time)
		assert_int_equal(peeked, -1);
	atomic_store(&own->sender, 0);
	pthread_join(thread, NULL);
	assert_int_equal(outcome.result, BYTES);
	assert_int_equal(atomic_load(&own->sender), 0);
	assert_int_equal(atomic_load(&own->sent), BYTES);
	expect_bytes();
	conn_fd_drop(ends[0]);
	close(ends[0]);
	return in_time;
}

static void test_turn_is_waited_for(void **state)
{
	int i = 0;

	(void)state;
	while (i < TRIES && !turn_is_waited_for())
		i++;
	assert_in_range(i, 0, TRIES - 1);
}

/* TCP's send has its file from the beginning on. */
static void test_turn_comes_after_the_close(void **state)
{
	struct outcome outcome;
	pthread_t thread;
	bool begun = false;

	(void)state;
	for (int i = 0; i < TRIES && !begun; i++) {
		struct ledger_half *own = open_armed();

		start_sender(own, &thread, &outcome);
		begun = threads_count_inside(conn_get(ends[0])->index) == 1;
		conn_fd_drop(ends[0]);
		close(ends[0]);
		atomic_store(&own->sender, 0);
		pthread_join(thread, NULL);
		if (begun) {
			assert_int_equal(outcome.result, BYTES);
			assert_int_equal(atomic_load(&own->sender), 0);
			expect_bytes();
		} else {
			close(ends[1]);
		}
	}
	assert_true(begun);
}

/* Another sender sets WANTED, and takes it back as there is no room, while the holder ends its turn. */
static void test_turn_ends_whoever_wants_it(void **state)
{
	_Atomic uint32_t word = ANOTHER;
	const struct turn turn = { .word = &word, .token = ANOTHER };

	(void)state;
	turn_hand_over(&turn);
	assert_int_equal(word, 0);
	word = ANOTHER | WANTED;
	turn_hand_over(&turn);
	assert_int_equal(word, WANTED);
	word = ANOTHER + 1; /* taken from it meanwhile */
	turn_hand_over(&turn);
	assert_int_equal(word, ANOTHER + 1);
}

/* Who was killed in the middle of a send has it for ever. */
static void test_turn_is_taken_from_the_dead(void **state)
{
	struct ledger_half *own = open_armed();
	struct outcome outcome;

	(void)state;
	atomic_store(&own->sender, ANOTHER);
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, sender, &outcome), 0);
	pthread_join(thread, NULL);
	assert_int_equal(outcome.result, BYTES);
	assert_int_equal(atomic_load(&own->sender), 0);
	expect_bytes();
	conn_fd_drop(ends[0]);
	close(ends[0]);
}

static void *take_and_end(void *half)
{
	struct ledger_half *own = half;
	struct turn turn;
	uint32_t before = thread_enter(1);

	(void)before; /* it is cancelled, as it were */
	assert_true(turn_take_word(&own->sender, &turn));
	return NULL;
}

/* As a handler would, whose frame is far below. */
static __attribute__((noinline)) bool take_below(_Atomic uint32_t *word, struct turn *turn)
{
	char frame[4096];
	bool result = turn_take_word(word, turn);

	__asm__ volatile("" : : "r"(frame) : "memory");
	return result;
}

/* A send that siglongjmp has left keeps its turn, which the thread's next one takes up; one below it on the stack does without. */
static void test_turn_of_a_send_that_was_left_is_the_next_ones(void **state)
{
	_Atomic uint32_t word = 0, another = 0;
	struct turn left = { 0 }, below = { 0 }, next = { 0 };
	uint32_t before = thread_enter(1);

	(void)state;
	assert_true(turn_take_word(&word, &left));
	assert_true(take_below(&word, &below));
	assert_null(below.word);
	assert_int_equal(word, left.token);
	atomic_fetch_or(&word, WANTED);
	/* A handler that has sent on another connection first is still in the middle of this one's. */
	assert_true(take_below(&another, &below));
	turn_end(&below);
	assert_true(take_below(&word, &next));
	assert_null(next.word);
	assert_int_equal(word, left.token | WANTED);
	word = 0;
	assert_true(turn_take_word(&word, &left));
	atomic_fetch_or(&word, WANTED);
	assert_true(turn_take_word(&word, &next));
	assert_ptr_equal(next.word, &word);
	assert_int_equal(word, next.token | WANTED);
	assert_int_not_equal(next.token, left.token);
	turn_end(&left);
	assert_int_equal(word, next.token | WANTED);
	turn_end(&next);
	assert_int_equal(word, WANTED);
	thread_leave(before);
}

static void *be_another(void *unused)
{
	for (;;)
		pause();
	return unused;
}

/* Nobody waits for a thread of this process that is no more, be its slot free or another's. */
static void test_turn_is_not_waited_for_if_its_thread_has_ended(void **state)
{
	int64_t fastest_ms = TURN_TAKEN_MS;
	struct outcome outcome;
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, be_another, NULL), 0); /* a thread alone takes no turns */
	for (int i = 0; i < TRIES; i++) {
		struct ledger_half *own = open_armed();

		assert_int_equal(pthread_create(&thread, NULL, take_and_end, own), 0);
		pthread_join(thread, NULL);
		assert_int_not_equal(atomic_load(&own->sender), 0);
		int64_t begin_ms = clock_ms();
		assert_int_equal(pthread_create(&thread, NULL, sender, &outcome), 0);
		pthread_join(thread, NULL);
		int64_t spent_ms = clock_ms() - begin_ms;
		fastest_ms = spent_ms < fastest_ms ? spent_ms : fastest_ms;
		assert_int_equal(outcome.result, BYTES);
		assert_int_equal(atomic_load(&own->sender), 0);
		expect_bytes();
		conn_fd_drop(ends[0]);
		close(ends[0]);
	}
	assert_in_range(fastest_ms, 0, TURN_TAKEN_MS / 4);
}

/* The peer, which has the ledger, too, and writes there what it likes. */
static _Atomic bool flood_ends;

static void *flood(void *half)
{
	struct ledger_half *own = half;

	for (uint32_t token = 1; !atomic_load(&flood_ends); token = token % ANOTHER + 1)
		atomic_store(&own->sender, token);
	return NULL;
}

static int64_t send_in_flood(bool is_shared)
{
	static const char bytes[BYTES];
	struct ledger_half *own = open_armed();
	pthread_t thread;

	atomic_store(&conn_get(ends[0])->given_away, is_shared);
	atomic_store(&flood_ends, false);
	assert_int_equal(pthread_create(&thread, NULL, flood, own), 0);
	while (atomic_load(&own->sender) == 0)
		usleep(100);
	int64_t begin_ms = clock_ms();
	assert_int_equal(wrap_send(ends[0], bytes, sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT), BYTES);
	int64_t spent_ms = clock_ms() - begin_ms;
	atomic_store(&flood_ends, true);
	pthread_join(thread, NULL);
	expect_bytes();
	conn_fd_drop(ends[0]);
	close(ends[0]);
	return spent_ms;
}

static void test_send_that_must_not_sleep_hardly_waits_for_the_peer(void **state)
{
	(void)state;
	for (int is_shared = 0; is_shared <= 1; is_shared++) {
		int64_t fastest_ms = INT64_MAX;

		for (int i = 0; i < TRIES && fastest_ms > TURN_TAKEN_MS; i++) {
			int64_t spent_ms = send_in_flood(is_shared);
			fastest_ms = spent_ms < fastest_ms ? spent_ms : fastest_ms;
		}
		assert_in_range(fastest_ms, 0, TURN_TAKEN_MS);
	}
}

static int start(void **state)
{
	(void)state;
	real_init();
	threads_init();
	fork_init();
	return conn_init();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_turn_is_waited_for),
		cmocka_unit_test(test_turn_comes_after_the_close),
		cmocka_unit_test(test_turn_of_a_send_that_was_left_is_the_next_ones),
		cmocka_unit_test(test_turn_ends_whoever_wants_it),
		cmocka_unit_test(test_turn_is_taken_from_the_dead),
		cmocka_unit_test(test_turn_is_not_waited_for_if_its_thread_has_ended),
		cmocka_unit_test(test_send_that_must_not_sleep_hardly_waits_for_the_peer),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, start, NULL);
}
