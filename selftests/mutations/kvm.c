// SPDX-License-Identifier: GPL-2.0
/*
 * As ledger.c, beside KVM: what Wisp flushes because others use the hardware, too, and
 * how it comes to know of them. The lab has KVM's modules.
 */
#include "../harness.h"
#include "../kvm/kvm.h"
#include "ledger.h"

SNIPPET(halt, 64, "1: hlt; jmp 1b");

FIXTURE(others) {
	struct guest g;
	struct kvm kvm;
};

FIXTURE_VARIANT(others) {
	unsigned int flush;
	bool stay;		/* KVM is there when Wisp's guest runs again */
	unsigned int noticed;	/* with SVM */
	unsigned int noticed_vmx;
};

#define VARIANT(name, ...)						\
	FIXTURE_VARIANT_ADD(others, name) { __VA_ARGS__ }

VARIANT(nothing, NOTHING, true, 0, 0);
VARIANT(nothing_of_who_is_gone, NOTHING, false, 0, 0);
VARIANT(flush, FLUSH_ENABLE, true, OTHER_VCPU, OTHER_VCPU);
VARIANT(note, NOTE_ENABLE, true, OTHER_VCPU, OTHER_VCPU);
/* VMX has tags that others do not use: see Documentation/beside-kvm.rst. */
VARIANT(flush_after_who_is_gone, FLUSH_ENABLE, false, OTHER_VCPU, 0);
VARIANT(note_of_who_is_gone, NOTE_ENABLE, false, OTHER_VCPU, 0);
VARIANT(flush_for_others, FLUSH_OTHERS, true, LEFT_TO_OTHERS, 0);

FIXTURE_SETUP(others)
{
	ASSERT_EQ(0, guest_pin(0));
	ASSERT_EQ(0, guest_create(&self->g));
	GUEST_LOAD(&self->g, LONG64, halt);
	ASSERT_EQ(WISP_EXIT_HLT, guest_run(&self->g));
}

FIXTURE_TEARDOWN(others)
{
	EXPECT_TRUE(leave_out(NO_FLUSH, NO_REVOKE));
	guest_destroy(&self->g);
}

/* From 6.12 on it has the hardware until it is unloaded. */
static int leave(struct kvm *kvm)
{
	kvm_destroy(kvm);
	return kvm_unload_modules();
}

TEST_F(others, are_noticed)
{
	bool svm = self->g.query.backend == WISP_BACKEND_SVM;

	ASSERT_EQ(0, kvm_load_modules());
	ASSERT_EQ(0, kvm_create(&self->kvm));
	ASSERT_EQ(0, kvm_start(&self->kvm, EFER_LME | EFER_LMA, 0, halt, halt_end));
	EXPECT_EQ(KVM_EXIT_HLT, kvm_run(&self->kvm));
	if (!variant->stay)
		ASSERT_EQ(0, leave(&self->kvm));
	ASSERT_TRUE(leave_out(variant->flush, NO_REVOKE));
	EXPECT_EQ(WISP_EXIT_HLT, guest_complete(&self->g, 0));
	EXPECT_EQ(svm ? variant->noticed : variant->noticed_vmx, objections());
	if (variant->stay)
		EXPECT_EQ(0, leave(&self->kvm));
}

TEST_HARNESS_MAIN
