"""Bank statements as banks send them, typed from the public descriptions of the formats."""

from __future__ import annotations

MT940 = """\
{1:F01BANKDEFFAXXX0000000000}{2:I940BANKDEFFXXXXN}{4:
:20:STARTUMSE
:25:10020030/1234567
:28C:00044/001
:60F:C260301USD1000,00
:61:2603020302C30,00NTRFNONREF//B123
:86:166?00GUTSCHRIFT?20EREF+NOTPROVIDED?21SVWZ+Invoice INV-0000?2201 thanks?30COBADEFF
?31DE89370400440532013000?32MAX MUSTER?33MANN
:61:2603030303RC12,50NRTINONREF//B124
:86:RETURNED ITEM
:61:260304D5,50NCHGREF9
:86:Account fees
:62F:C260304USD1012,00
-}
"""

CAMT_02 = """\
<?xml version="1.0" encoding="UTF-8"?>
<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.02">
 <BkToCstmrStmt>
  <GrpHdr><MsgId>M1</MsgId><CreDtTm>2026-03-05T06:00:00</CreDtTm></GrpHdr>
  <Stmt>
   <Id>S-44</Id>
   <Acct><Id><IBAN>DE02120300000000202051</IBAN></Id><Ccy>USD</Ccy></Acct>
   <Bal><Tp><CdOrPrtry><Cd>PRCD</Cd></CdOrPrtry></Tp><Amt Ccy="USD">100.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Dt><Dt>2026-03-03</Dt></Dt></Bal>
   <Bal><Tp><CdOrPrtry><Cd>CLBD</Cd></CdOrPrtry></Tp><Amt Ccy="USD">175.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Dt><Dt>2026-03-04</Dt></Dt></Bal>
   <Ntry>
    <Amt Ccy="USD">90.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts>BOOK</Sts>
    <BookgDt><Dt>2026-03-04</Dt></BookgDt><ValDt><Dt>2026-03-05</Dt></ValDt><AcctSvcrRef>BATCH1</AcctSvcrRef>
    <NtryDtls><Btch><NbOfTxs>2</NbOfTxs></Btch>
     <TxDtls>
      <Refs><EndToEndId>INV-000001</EndToEndId></Refs>
      <AmtDtls><TxAmt><Amt Ccy="USD">30.00</Amt></TxAmt></AmtDtls>
      <RltdPties><Dbtr><Nm>Ann Example</Nm></Dbtr><DbtrAcct><Id><IBAN>DE89370400440532013000</IBAN></Id></DbtrAcct></RltdPties>
      <RmtInf><Ustrd>monthly</Ustrd></RmtInf>
     </TxDtls>
     <TxDtls>
      <Refs><EndToEndId>NOTPROVIDED</EndToEndId></Refs>
      <AmtDtls><TxAmt><Amt Ccy="USD">60.00</Amt></TxAmt></AmtDtls>
      <RltdPties><Dbtr><Nm>Ben Sample</Nm></Dbtr><DbtrAcct><Id><Othr><Id>55-001</Id></Othr></Id></DbtrAcct></RltdPties>
      <RmtInf><Strd><CdtrRefInf><Ref>RF18 5390 0754 7034</Ref></CdtrRefInf></Strd></RmtInf>
     </TxDtls>
    </NtryDtls>
   </Ntry>
   <Ntry>
    <Amt Ccy="USD">15.00</Amt><CdtDbtInd>DBIT</CdtDbtInd><RvslInd>true</RvslInd><Sts>BOOK</Sts>
    <BookgDt><DtTm>2026-03-04T10:00:00</DtTm></BookgDt><AcctSvcrRef>REV1</AcctSvcrRef>
    <NtryDtls><TxDtls><RltdPties><Dbtr><Nm>Cyd Test</Nm></Dbtr></RltdPties></TxDtls></NtryDtls>
   </Ntry>
   <Ntry>
    <Amt Ccy="USD">500.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts>PDNG</Sts><BookgDt><Dt>2026-03-05</Dt></BookgDt>
   </Ntry>
  </Stmt>
 </BkToCstmrStmt>
</Document>
"""

CAMT_08 = """\
<?xml version="1.0" encoding="UTF-8"?>
<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt><GrpHdr><MsgId>M2</MsgId></GrpHdr><Stmt>
<Id>S-45</Id><Acct><Id><IBAN>DE02120300000000202051</IBAN></Id><Ccy>USD</Ccy></Acct>
<Bal><Tp><CdOrPrtry><Cd>OPBD</Cd></CdOrPrtry></Tp><Amt Ccy="USD">175.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Dt><Dt>2026-03-05</Dt></Dt></Bal>
<Bal><Tp><CdOrPrtry><Cd>CLBD</Cd></CdOrPrtry></Tp><Amt Ccy="USD">205.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Dt><Dt>2026-03-05</Dt></Dt></Bal>
<Ntry><NtryRef>7</NtryRef><Amt Ccy="USD">30.00</Amt><CdtDbtInd>CRDT</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts><BookgDt><Dt>2026-03-05</Dt></BookgDt>
<NtryDtls><TxDtls><Refs><EndToEndId>E2E-9</EndToEndId></Refs><Amt Ccy="USD">30.00</Amt><CdtDbtInd>CRDT</CdtDbtInd>
<RltdPties><Dbtr><Pty><Nm>Ann Example</Nm></Pty></Dbtr><DbtrAcct><Id><IBAN>DE89370400440532013000</IBAN></Id></DbtrAcct></RltdPties>
<RmtInf><Ustrd>account</Ustrd><Ustrd>A-000001</Ustrd></RmtInf></TxDtls></NtryDtls></Ntry>
</Stmt></BkToCstmrStmt></Document>
"""

CSV_US = """\
Statement for checking
Date,Description,Amount,Balance,Payer
03/02/2026,"DEPOSIT INV-000001, thank you",30.00,1030.00,ANN EXAMPLE
03/03/2026,SERVICE FEE,(5.50),"1,024.50",
03/04/2026,DEPOSIT,30.00,1054.50,WHO KNOWS
03/04/2026,DEPOSIT,30.00,1084.50,WHO KNOWS
"""
CSV_US_MAPPING = {
    "booked": "Date", "amount": "Amount", "remittance": ["Description"], "payer_name": "Payer", "balance": "Balance",
    "skip_lines": 1, "date_format": "%m/%d/%Y",
}  # fmt: skip


def csv_day(*rows: tuple[str, str, str, str]) -> bytes:
    """A file of ``(ISO day, amount, text, payer)`` with headings."""
    lines = ["day;amount;text;payer", *(";".join(row) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


CSV_DAY_MAPPING = {
    "booked": "day",
    "amount": "amount",
    "remittance": ["text"],
    "payer_name": "payer",
    "delimiter": ";",
}
