/* SPDX-License-Identifier: BSD-2-Clause */
/* forged_reasons SOCKET: asks for pairs to be pinned and taken out for the reasons that only the helper itself has. It hangs up, and does
 * nothing. Status 0: so it was. */
#include "../support/watchdog.h"
#include "hostile.h"

#define LIMIT_S 20

static int failures;

static void forge(enum wire_type type, enum sm_reason reason)
{
	struct wire_pin pin = { .reason = reason };
	struct hostile client;
	struct pollfd hang_up;
	uint32_t status = 0;
	int ends[2];

	if (!hostile_open(&client))
		die("no session");
	hostile_pair(ends);
	for (uint32_t cell = 1; cell <= 2; cell++) {
		hostile_join(&client, ends[cell - 1], cell, 1, cell_word(1, CELL_PENDING));
		if (hostile_answer(&client, cell, 1) != CELL_DONE)
			die("no join");
	}
	pin.cookie = hostile_cookie(ends[0]);
	wire_header_init(&pin.header, type, sizeof(pin), 1, 1);
	wire_send(client.near, &pin, sizeof(pin), type == WIRE_WITHDRAW ? -1 : ends[0]);
	hang_up = (struct pollfd){ .fd = client.near, .events = POLLRDHUP };
	if (poll(&hang_up, 1, ANSWER_MS) != 1)
		failures++;
	status = atomic_load(&client.memory->cells[1].status);
	if (status & (CELL_PINNED | CELL_TAKEN_OUT))
		failures++;
	if (failures)
		fprintf(stderr, "message %d, reason %d: status %#x\n", type, reason, status);
	hostile_close(&client);
	close(ends[0]);
	close(ends[1]);
}

int main(int argc, char **argv)
{
	static const enum wire_type types[] = { WIRE_PIN, WIRE_LEAVE, WIRE_WITHDRAW };

	if (argc < 2)
		return EXIT_USAGE;
	hostile_path = argv[1];
	watchdog_start(LIMIT_S, NULL);
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]) && !failures; i++) {
		forge(types[i], REASON_TRIAL_PLAIN);
		forge(types[i], REASON_TRIAL_STOPPED);
	}
	return failures ? EXIT_WRONG : 0;
}
