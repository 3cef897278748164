/* SPDX-License-Identifier: BSD-2-Clause */
/* The breaker (channel.h): open from one time-out on until the helper has answered a ping. */
#ifndef SMACCEL_CHANNEL_BREAKER_H
#define SMACCEL_CHANNEL_BREAKER_H

#include <stdbool.h>

/* Opens it, and sends the ping, so that the answer is there when the helper is. It has said nothing for silent_ms. From any thread; keeps nothing
 * waiting. */
void breaker_open(int silent_ms);
void breaker_close(void); /* there is another helper, or none */
bool breaker_is_open(void);
/* How much longer one may wait whose question bytes depend on: it waits longer than the one that opened it, but no second one does. */
int breaker_patience_ms(void);
/* Whether the answer has come; if the ping could not be sent it is sent now. */
bool breaker_has_answer(void);

#endif
