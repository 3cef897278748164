/* SPDX-License-Identifier: BSD-2-Clause */
/* proof.c: what follows from the kernel's facts: peers, accounts, stranded and moving threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../helper/proof.h"

#define CLIENT_ISS 0xfffffff0u /* wraps soon */
#define SERVER_ISS 1000u

/* A connection as the kernel shows it: the connecting end counts its SYN in bytes_acked, the accepting end does not. */
static void make_connection(struct sm_facts *client, struct sm_facts *server, uint32_t to_server, uint32_t to_client)
{
	*client = (struct sm_facts){
		.snd_una = CLIENT_ISS + 1 + to_server,
		.bytes_acked = 1 + to_server,
		.write_seq = CLIENT_ISS + 1 + to_server,
		.rcv_nxt = SERVER_ISS + 1 + to_client,
		.bytes_received = to_client,
		.copied_seq = SERVER_ISS + 1 + to_client,
	};
	*server = (struct sm_facts){
		.snd_una = SERVER_ISS + 1 + to_client,
		.bytes_acked = to_client,
		.write_seq = SERVER_ISS + 1 + to_client,
		.rcv_nxt = CLIENT_ISS + 1 + to_server,
		.bytes_received = to_server,
		.copied_seq = CLIENT_ISS + 1 + to_server,
	};
}

static void test_proof_peers_at_any_moment(void **state)
{
	struct sm_facts client, server;

	(void)state;
	for (uint32_t sent = 0; sent < 100; sent += 7) {
		make_connection(&client, &server, sent, 3 * sent);
		client.snd_una -= sent / 2; /* not all is acknowledged yet */
		client.bytes_acked -= sent / 2;
		assert_true(proof_are_peers(&client, &server));
		assert_true(proof_are_peers(&server, &client));
	}
}

static void test_proof_strangers(void **state)
{
	struct sm_facts client, server, stranger;

	(void)state;
	make_connection(&client, &server, 10, 20);
	stranger = server;
	stranger.rcv_nxt += 2;
	assert_false(proof_are_peers(&client, &stranger));
	stranger = server;
	stranger.snd_una -= 1000;
	assert_false(proof_are_peers(&client, &stranger));
	assert_false(proof_are_peers(&client, &client));
	stranger = server;
	stranger.rcv_nxt--; /* (0, 0) is no connection's */
	assert_false(proof_are_peers(&client, &stranger));
}

static void test_proof_simultaneous_open(void **state)
{
	struct sm_facts client, server;

	(void)state;
	make_connection(&client, &server, 10, 20);
	server.bytes_acked++; /* both ends have sent a SYN and seen it acknowledged */
	assert_true(proof_are_peers(&client, &server));
}

static void test_proof_accounts(void **state)
{
	struct sm_facts client, server;

	(void)state;
	make_connection(&client, &server, 500, 70);
	assert_int_equal(proof_accounts(&client, 500, 70), 1);
	assert_int_equal(proof_accounts(&server, 70, 500), 0);
	assert_int_equal(proof_accounts(&client, 500 + (1ull << 32), 70 + (5ull << 32)), 1); /* modulo 2^32 */
	assert_int_equal(proof_accounts(&client, 498, 70), -1);
	assert_int_equal(proof_accounts(&client, 502, 70), -1);
	assert_int_equal(proof_accounts(&client, 500, 69), -1);
	assert_int_equal(proof_accounts(&server, 71, 500), -1);
}

/* One byte too many on the accepting end looks like a SYN, until there are two ends to compare. */
static void test_proof_octet_tells_a_syn_from_a_byte(void **state)
{
	struct sm_facts client, server;

	(void)state;
	make_connection(&client, &server, 500, 71);
	assert_int_equal(proof_accounts(&server, 70, 500), 1);
	assert_int_equal(proof_octet_expected(&server, &client), 0);
	assert_int_equal(proof_octet_expected(&client, &server), 1);
	assert_int_equal(proof_accounts(&client, 501, 71), 0);
}

static void test_proof_stranded(void **state)
{
	struct sm_facts facts = { .psock_refs = 1 };

	(void)state;
	assert_false(proof_may_be_stranded(&facts, PROOF_REFS_JOINED));
	facts.blocked_threads = 1; /* asleep without a reference: outside */
	assert_true(proof_may_be_stranded(&facts, PROOF_REFS_JOINED));
	facts.psock_refs = 2; /* asleep inside */
	assert_false(proof_may_be_stranded(&facts, PROOF_REFS_JOINED));
	facts.blocked_threads = 2;
	assert_true(proof_may_be_stranded(&facts, PROOF_REFS_JOINED));
	facts.blocked_threads = PROOF_BLOCKED_UNKNOWN;
	facts.psock_refs = 100;
	assert_true(proof_may_be_stranded(&facts, PROOF_REFS_JOINED));
	facts = (struct sm_facts){ 0 }; /* no psock any more */
	assert_false(proof_may_be_stranded(&facts, PROOF_REFS_JOINED));
	assert_false(proof_may_be_stranded(&facts, PROOF_REFS_OUTSIDE));
	facts.blocked_threads = 1; /* in a plain receive, before the join */
	assert_true(proof_may_be_stranded(&facts, PROOF_REFS_OUTSIDE));
}

static void test_proof_inside(void **state)
{
	struct sm_facts facts = { .psock_refs = 1 };

	(void)state;
	assert_int_equal(proof_inside(&facts, PROOF_REFS_JOINED), PROOF_NOBODY);
	facts.blocked_threads = PROOF_BLOCKED_UNKNOWN; /* nobody is inside, whoever sleeps outside */
	assert_int_equal(proof_inside(&facts, PROOF_REFS_JOINED), PROOF_NOBODY);
	facts.psock_refs = 2;
	assert_int_equal(proof_inside(&facts, PROOF_REFS_JOINED), PROOF_MOVING);
	facts.blocked_threads = 0;
	assert_int_equal(proof_inside(&facts, PROOF_REFS_JOINED), PROOF_MOVING);
	facts.blocked_threads = 1;
	assert_int_equal(proof_inside(&facts, PROOF_REFS_JOINED), PROOF_ASLEEP);
	facts.psock_refs = 3;
	assert_int_equal(proof_inside(&facts, PROOF_REFS_JOINED), PROOF_MOVING);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_proof_peers_at_any_moment),
		cmocka_unit_test(test_proof_strangers),
		cmocka_unit_test(test_proof_simultaneous_open),
		cmocka_unit_test(test_proof_accounts),
		cmocka_unit_test(test_proof_octet_tells_a_syn_from_a_byte),
		cmocka_unit_test(test_proof_stranded),
		cmocka_unit_test(test_proof_inside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
