// SPDX-License-Identifier: GPL-2.0
/*
 * The audit of a reset. It looks for what is there, not at what the reset did:
 * registers are read as for GET_STATE, pages wherever the trees are not the same.
 */
#include "audit.h"

#include <linux/cleanup.h>

#include <asm/msr.h>

#include "backend.h"
#include "clock.h"
#include "vm.h"

/* Returns whether that is so; @offset is that of @member in the shared page. */
static bool state_differs(struct wisp_audit *audit, const struct wisp_vcpu *vcpu,
			  u32 offset, const void *member, const void *with,
			  size_t size)
{
	const u8 *a = member, *b = with;
	size_t at = 0;

	if (!memcmp(a, b, size))
		return false;
	while (a[at] == b[at])
		at++;
	audit->what = WISP_AUDIT_STATE;
	audit->vcpu = vcpu->index;
	audit->field = offset + at;
	return true;
}

static bool vcpu_differs(struct wisp_vcpu *vcpu, const struct wisp_vcpu *from,
			 struct wisp_audit *audit)
{
	struct wisp_registers *regs = &vcpu->scratch;

	if (!from || !vcpu->populated)
		return false;
	wisp_vcpu_get_registers(vcpu, WISP_STATE_ALL & ~WISP_STATE_FPU, regs);
	/* What it was at that moment. */
	regs->msrs.tsc = vcpu->tsc_offset + wisp_clock_at(vcpu, vcpu->vm->tsc_origin);
	return state_differs(audit, vcpu, WISP_FIELD(state), regs, &from->scratch,
			     sizeof(*regs)) ||
	       state_differs(audit, vcpu, WISP_FIELD(state.xsave),
			     vcpu->fpu.xsave, from->fpu.xsave,
			     wisp_host_xsave_size) ||
	       state_differs(audit, vcpu, WISP_FIELD(complete), &vcpu->completion,
			     &from->completion, sizeof(vcpu->completion)) ||
	       state_differs(audit, vcpu, WISP_FIELD(exit), &vcpu->exit,
			     &from->exit, sizeof(vcpu->exit));
}

static bool memory_differs(const struct wisp_slot *slot,
			   const struct wisp_slot *from, struct wisp_audit *audit)
{
	u64 offset = slot->offset;

	if (!wisp_memory_differ(slot->memory, from->memory, &offset, slot->size))
		return false;
	audit->what = WISP_AUDIT_MEMORY;
	audit->gpa = slot->gpa + offset - slot->offset;
	return true;
}

static bool slot_differs(const struct wisp_slot *slot, const struct wisp_slot *from,
			 struct wisp_audit *audit)
{
	if (slot->gpa == from->gpa && slot->size == from->size &&
	    slot->offset == from->offset && slot->prot == from->prot &&
	    slot->number == from->number &&
	    wisp_memory_id(slot->memory) == wisp_memory_id(from->memory))
		return memory_differs(slot, from, audit);
	audit->what = WISP_AUDIT_LAYOUT;
	return true;
}

void wisp_audit(struct wisp_vm *vm, struct wisp_audit *audit)
{
	struct wisp_vm *base = vm->base;
	struct wisp_vcpu *vcpu;
	u32 i;

	lockdep_assert_held(&vm->lock);
	wisp_vm_for_each_vcpu(vm, i, vcpu)
		if (vcpu_differs(vcpu, wisp_vm_find_vcpu(base, i), audit))
			return;
	guard(rwsem_read)(&vm->slots_sem);
	if (vm->nslots != base->nslots ||
	    wisp_protections_differ(&vm->protections, &base->protections)) {
		audit->what = WISP_AUDIT_LAYOUT;
		return;
	}
	for (i = 0; i < vm->nslots; i++)
		if (slot_differs(vm->slots[i], base->slots[i], audit))
			return;
}
