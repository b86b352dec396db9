import { posix } from "node:path";
import ts from "typescript";

/** An import of any kind: `from "x"`, `import("x")`, `import type`, `export from`. */
export interface Import {
  readonly target: string;
  readonly line: number;
}

/** All nodes of a tree, parents before children. */
export function compilerNodes(tree: ts.SourceFile): readonly ts.Node[] {
  const nodes: ts.Node[] = [];
  const visit = (node: ts.Node): void => {
    nodes.push(node);
    ts.forEachChild(node, visit);
  };
  visit(tree);
  return nodes;
}

export function importsOf(tree: ts.SourceFile): readonly Import[] {
  return compilerNodes(tree).flatMap((node) => {
    const target = importTarget(node);
    return target !== undefined && ts.isStringLiteralLike(target)
      ? [{ target: target.text, line: lineOf(node) }]
      : [];
  });
}

function importTarget(node: ts.Node): ts.Node | undefined {
  if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) {
    return node.moduleSpecifier;
  }
  if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
    return node.arguments[0];
  }
  return ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)
    ? node.argument.literal
    : undefined;
}

/** The imported file's path from the root, or null for packages and built-ins. */
export function resolveImport(importer: string, target: string): string | null {
  return target.startsWith(".") ? posix.join(posix.dirname(importer), target) : null;
}

/** 1 for the first line; comments before the node do not count. */
export function lineOf(node: ts.Node): number {
  const tree = node.getSourceFile();
  return tree.getLineAndCharacterOfPosition(node.getStart(tree)).line + 1;
}

/** Whether a statement of a module is exported where it is declared. */
export function isExported(node: ts.Statement): boolean {
  return (
    ts.canHaveModifiers(node) &&
    ts.getModifiers(node)?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword) === true
  );
}

/** The names that a statement declares. */
export function namesOf(node: ts.Statement): readonly string[] {
  if (ts.isVariableStatement(node)) {
    return node.declarationList.declarations.map((declaration) => declaration.name.getText());
  }
  const isNamed =
    ts.isFunctionDeclaration(node) ||
    ts.isClassDeclaration(node) ||
    ts.isInterfaceDeclaration(node) ||
    ts.isTypeAliasDeclaration(node);
  return isNamed && node.name !== undefined ? [node.name.text] : [];
}

/** `export default`, `export =` and `export { a as default }`. */
export function isDefaultExport(node: ts.Statement): boolean {
  if (ts.isExportDeclaration(node)) {
    const { exportClause } = node;
    return (
      exportClause !== undefined &&
      ts.isNamedExports(exportClause) &&
      exportClause.elements.some(({ name }) => name.text === "default")
    );
  }
  const isDefault = ({ kind }: ts.ModifierLike): boolean => kind === ts.SyntaxKind.DefaultKeyword;
  return (
    ts.isExportAssignment(node) ||
    (ts.canHaveModifiers(node) && ts.getModifiers(node)?.some(isDefault) === true)
  );
}

/** The callback of describe(...) or test(...), or the body of a suite that calls them: a list, not one thing to understand. */
export function isListOfCases(node: ts.SignatureDeclaration): boolean {
  if (isCallOfRunner(node.parent)) {
    return true;
  }
  const body = ts.isFunctionDeclaration(node) ? node.body : undefined;
  return (
    body?.statements.some((statement) => {
      return ts.isExpressionStatement(statement) && isCallOfRunner(statement.expression);
    }) ?? false
  );
}

function isCallOfRunner(node: ts.Node): boolean {
  return ts.isCallExpression(node) && /^(describe|suite|test|it)\b/.test(node.expression.getText());
}
