/* SPDX-License-Identifier: BSD-2-Clause */
/* PIN: the verdicts of a pair pass from now on.
 *
 * The fd that comes with the request names the end, by the cookie the kernel tells: whoever has the socket may pin it, and
 * nobody else; so it works for ends whose owner, or whose helper, is long gone.
 */
#include <errno.h>

#include "datapath.h"
#include "log.h"
#include "pairing_internal.h"
#include "sockfacts.h"
#include "trial.h"

#define PIN_BOTH 3u

int pin_identify_as(struct request *request, uint64_t claimed, struct request_end *out)
{
	const struct wire_header *header = &request->message.header;
	const struct reaper_tag tag = { request->session->id, header->cell, header->generation };
	struct helper *helper = request->helper;
	int fd = request->fd;
	uint64_t cookie;
	struct sm_look look;
	bool is_tcp;

	out->cell = session_cell(request->session, header->cell);
	if (!out->cell || header->generation > CELL_GENERATION_MASK) {
		helper->refusals[REASON_BAD_REQUEST]++;
		return -EPROTO;
	}
	session_status_change(request->session, header->cell, header->generation, 0, CELL_HELD);
	is_tcp = sockfacts_is_tcp(fd);
	cookie = is_tcp ? sockfacts_cookie(fd) : 0;
	out->end = registry_find_cookie(helper->registry, cookie);
	out->is_elsewhere =
		cookie && !out->end && !datapath_look(helper->datapath, fd, &look) && look.facts.psock_queued;
	request->fd = -1;
	if (dispatch_put_away(helper, fd, sockfacts_closes_quickly(fd), request->channel->uid, &tag))
		session_fd_closed(helper->sessions, &tag);
	if (!channel_is_heard(request->channel)) /* thrown out */
		return 0;
	if (!cookie || cookie != claimed) {
		helper->refusals[REASON_BAD_REQUEST]++;
		session_word_answer(out->cell, header->generation, CELL_REFUSED, REASON_BAD_REQUEST);
		return 0;
	}
	return 1;
}

bool pin_may_say(struct helper *helper, uint32_t reason)
{
	if (reason < REASON_COUNT && !trial_refuses(reason))
		return true;
	helper->refusals[REASON_BAD_REQUEST]++;
	return false;
}

int pin_identify(struct request *request, struct request_end *out)
{
	const struct wire_pin *message = &request->message.pin;

	if (!pin_may_say(request->helper, message->reason))
		return -EPROTO;
	return pin_identify_as(request, message->cookie, out);
}

void pin_both(struct helper *helper, struct slot *slot, enum sm_reason reason)
{
	if (!slot->shared->pins) {
		slot->shared->pin_reason = reason;
		log_debug("slot %u of pids %u %u: pinned (%s)", slot->index, slot->shared->end[0].pid,
			  slot->shared->end[1].pid, reason_name(reason));
	}
	__atomic_store_n(&slot->shared->pins, PIN_BOTH, __ATOMIC_SEQ_CST);
	for (int side = 0; side < SM_SIDES; side++)
		if (slot->end[side])
			pairing_notify(helper, slot->end[side], 0, CELL_PINNED);
}

int pairing_handle_pin(struct request *request)
{
	const struct wire_pin *message = &request->message.pin;
	struct request_end found = { 0 };
	int result = pin_identify(request, &found);

	if (result <= 0)
		return result;
	if (found.end)
		pin_both(request->helper, slot_at(request->helper->slots, found.end->slot), message->reason);
	/* Not in the sockhash: it passes anyhow, also in an earlier helper's, whose kill switch is set. */
	session_word_answer(found.cell, message->header.generation, CELL_DONE, REASON_NONE);
	return 0;
}
