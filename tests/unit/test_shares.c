/* SPDX-License-Identifier: BSD-2-Clause */
/* shares.c in a real loop, with channels that cost nothing but say that they did: a user whose share is used up has the time that
 * nobody else wants, and nobody waits for more than a few of his. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/eventfd.h>
#include <unistd.h>

#include "../../helper/dispatch.h"
#include "../../helper/loop.h"
#include "../../helper/shares.h"

#define CHANNELS 100
#define SPENT_NS (60 * LOOP_NS_PER_S) /* longer than this test takes */
#define GREEDY 1
#define MODEST 2
#define BEFORE_MAX 8 /* of the greedy one's, from when the modest one asks */

static struct loop *loop;
static struct shares *shares;
static struct channel greedy[CHANNELS], modest;
static unsigned served_greedy, served_modest, greedy_before;

static void unexpected_close(struct channel *channel)
{
	(void)channel;
	fail();
}

static void serve(struct loop_source *source, uint32_t events)
{
	struct channel *channel = loop_container(source, struct channel, source);
	uint64_t value;
	bool is_charged;

	(void)events;
	if (!shares_may_serve(shares, channel, &is_charged))
		return;
	assert_int_equal(read(source->fd, &value, sizeof(value)), sizeof(value));
	if (channel->uid == MODEST) {
		served_modest++;
		greedy_before = served_greedy;
	} else if (++served_greedy == CHANNELS / 2) {
		assert_int_equal(write(modest.source.fd, &(uint64_t){ 1 }, sizeof(uint64_t)), sizeof(uint64_t));
	}
	if (is_charged)
		shares_charge(shares, channel->uid, loop_now_ns());
	if (served_greedy == CHANNELS && served_modest)
		loop_stop(loop);
}

static void channel_open(struct channel *channel, uint32_t uid, unsigned requests)
{
	*channel = (struct channel){ .source = { .fd = eventfd(requests, EFD_NONBLOCK), .ready = serve },
				     .uid = uid,
				     .close = unexpected_close };
	assert_true(channel->source.fd >= 0);
	assert_int_equal(loop_add(loop, &channel->source, EPOLLIN), 0);
}

static void test_shares_spare_time_is_used_and_nobody_waits_for_it(void **state)
{
	uint64_t begin_ns = loop_now_ns();

	(void)state;
	alarm(20);
	assert_int_equal(loop_open(&loop), 0);
	shares = shares_new(loop);
	assert_non_null(shares);
	shares_charge(shares, GREEDY, begin_ns - SPENT_NS);
	for (unsigned i = 0; i < CHANNELS; i++)
		channel_open(&greedy[i], GREEDY, 1);
	channel_open(&modest, MODEST, 0);
	assert_int_equal(loop_run(loop), 0);
	assert_true(loop_now_ns() - begin_ns < LOOP_NS_PER_S);
	assert_in_range(greedy_before, CHANNELS / 2, CHANNELS / 2 + BEFORE_MAX);
	for (unsigned i = 0; i < CHANNELS; i++)
		close(greedy[i].source.fd);
	close(modest.source.fd);
	shares_free(shares);
	loop_close(loop);
}

/* He has made the loop wait for 20 ms, and is not served for more than that, though nobody else wants the time. */
static void test_shares_who_makes_the_loop_wait_is_held_back(void **state)
{
	const uint64_t waited_ns = 20 * LOOP_NS_PER_MS;
	uint64_t begin_ns = loop_now_ns();

	(void)state;
	alarm(20);
	served_greedy = CHANNELS - 1; /* one is enough */
	served_modest = 1;
	assert_int_equal(loop_open(&loop), 0);
	shares = shares_new(loop);
	assert_non_null(shares);
	shares_hold_back(shares, MODEST, begin_ns);
	shares_hold_back(shares, 0, begin_ns - waited_ns);
	assert_false(shares_are_held_back(shares, MODEST));
	assert_false(shares_are_held_back(shares, 0));
	shares_hold_back(shares, GREEDY, begin_ns - waited_ns);
	assert_true(shares_are_held_back(shares, GREEDY));
	channel_open(&greedy[0], GREEDY, 1);
	assert_int_equal(loop_run(loop), 0);
	assert_true(loop_now_ns() - begin_ns > 4 * waited_ns);
	assert_false(shares_are_held_back(shares, GREEDY));
	close(greedy[0].source.fd);
	shares_free(shares);
	loop_close(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shares_spare_time_is_used_and_nobody_waits_for_it),
		cmocka_unit_test(test_shares_who_makes_the_loop_wait_is_held_back),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
