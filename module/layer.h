/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Files as the bottom layer of memory objects. A page of the file's cache that
 * was asked for once is held, so that guests can have it mapped, until nobody
 * has the layer any more; nobody can write to the file meanwhile.
 */
#ifndef WISP_LAYER_H
#define WISP_LAYER_H

#include <linux/types.h>

struct page;
struct wisp_layer;

struct wisp_layer *wisp_layer_open(int fd, u64 offset, u64 size);
struct wisp_layer *wisp_layer_get(struct wisp_layer *layer);
void wisp_layer_put(struct wisp_layer *layer);

/* By index in the layer; NULL: wisp_layer_hold() it first. */
struct page *wisp_layer_find(struct wisp_layer *layer, pgoff_t index);
int wisp_layer_hold(struct wisp_layer *layer, pgoff_t index);

#endif
