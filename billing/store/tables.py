"""Every table of the billing room in one place; each is defined in `schema/` under its own room."""

from __future__ import annotations

from billing.store.schema.accounts import account, legal_entity, payer_change
from billing.store.schema.ach import (
    ach_batch,
    ach_entry,
    ach_originator,
    ach_return,
    bank_account,
    bank_file,
)
from billing.store.schema.bank_statements import (
    bank_line,
    bank_line_decision,
    bank_statement,
    house_account,
    payer_rule,
)
from billing.store.schema.base import metadata
from billing.store.schema.buckets import bucket_movement, quota_event, quota_state, top_up
from billing.store.schema.catalogue import plan, plan_version, promotion
from billing.store.schema.clock import clock_trust
from billing.store.schema.documents import document_file, document_look
from billing.store.schema.dunning import (
    deferral,
    dispute,
    dunning_approval,
    dunning_class_policy,
    dunning_event,
    dunning_policy,
    dunning_policy_version,
    dunning_state,
    promise,
    write_off,
)
from billing.store.schema.gateways import (
    autopay,
    gateway,
    gateway_charge,
    gateway_charge_step,
    gateway_customer,
    gateway_event,
    hosted_page,
    payment_method,
)
from billing.store.schema.invoices import bill_run, charge, invoice, invoice_line, number_series
from billing.store.schema.ledger import closing_act, ledger_code, ledger_entry, posting
from billing.store.schema.mail import mail_dead_address, mail_message, mail_server, mail_template
from billing.store.schema.notices import sms_gateway, sms_message
from billing.store.schema.payments import (
    allocation,
    allocation_rule,
    credit_use,
    deposit,
    deposit_release,
    deposit_slip,
    deposit_slip_item,
    payment,
    refund,
    refund_outcome,
    reversal,
    settlement,
)
from billing.store.schema.rating import rated_charge
from billing.store.schema.subscriptions import (
    contract_event,
    promotion_end,
    promotion_use,
    subscription,
    subscription_change,
)
from billing.store.schema.taxes import tax_certificate_scan, tax_engine, tax_exemption, tax_rule

__all__ = [
    "account",
    "ach_batch",
    "ach_entry",
    "ach_originator",
    "ach_return",
    "allocation",
    "allocation_rule",
    "autopay",
    "bank_account",
    "bank_file",
    "bank_line",
    "bank_line_decision",
    "bank_statement",
    "bill_run",
    "bucket_movement",
    "charge",
    "clock_trust",
    "closing_act",
    "contract_event",
    "credit_use",
    "deferral",
    "deposit",
    "deposit_release",
    "deposit_slip",
    "deposit_slip_item",
    "dispute",
    "document_file",
    "document_look",
    "dunning_approval",
    "dunning_class_policy",
    "dunning_event",
    "dunning_policy",
    "dunning_policy_version",
    "dunning_state",
    "gateway",
    "gateway_charge",
    "gateway_charge_step",
    "gateway_customer",
    "gateway_event",
    "hosted_page",
    "house_account",
    "invoice",
    "invoice_line",
    "ledger_code",
    "ledger_entry",
    "legal_entity",
    "mail_dead_address",
    "mail_message",
    "mail_server",
    "mail_template",
    "metadata",
    "number_series",
    "payer_change",
    "payer_rule",
    "payment",
    "payment_method",
    "plan",
    "plan_version",
    "posting",
    "promise",
    "promotion",
    "promotion_end",
    "promotion_use",
    "quota_event",
    "quota_state",
    "rated_charge",
    "refund",
    "refund_outcome",
    "reversal",
    "settlement",
    "sms_gateway",
    "sms_message",
    "subscription",
    "subscription_change",
    "tax_certificate_scan",
    "tax_engine",
    "tax_exemption",
    "tax_rule",
    "top_up",
    "write_off",
]
