import { readFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import ts from "typescript";

/** True for `import type` and `export type` declarations, which compile to nothing. */
function isErased(node) {
  if (ts.isImportDeclaration(node)) return node.importClause?.isTypeOnly ?? false;
  if (ts.isExportDeclaration(node)) return node.isTypeOnly;
  return ts.isImportTypeNode(node);
}

/** The module a node names, when it imports or re-exports one. */
function specifierOf(node) {
  if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) return node.moduleSpecifier;
  if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) return node.argument.literal;
  if (ts.isCallExpression(node)) {
    const { expression } = node;
    const isImport = expression.kind === ts.SyntaxKind.ImportKeyword;
    const isRequire = ts.isIdentifier(expression) && expression.text === "require";
    const isResolve =
      ts.isPropertyAccessExpression(expression) &&
      expression.name.text === "resolve" &&
      (ts.isMetaProperty(expression.expression) || expression.expression.getText() === "require");
    if (isImport || isRequire || isResolve) return node.arguments[0];
  }
  return undefined;
}

/**
 * Every module that a source file names: import, export … from, import(), import types, require(), import.meta.resolve().
 * `static` ones run when the file is loaded; `import { type A }` is among them, since it compiles to `import {}`.
 * Node's own modules are left out, and so are names that are computed.
 *
 * @returns {{specifier: string, line: number, static: boolean}[]}
 */
export function scanImports(file) {
  const source = ts.createSourceFile(file, readFileSync(file, "utf8"), ts.ScriptTarget.Latest, true);
  const imports = [];
  const visit = (node) => {
    const specifier = specifierOf(node);
    if (specifier && ts.isStringLiteralLike(specifier) && !isBuiltin(specifier.text)) {
      const declaration = ts.isImportDeclaration(node) || ts.isExportDeclaration(node);
      const line = source.getLineAndCharacterOfPosition(specifier.getStart()).line + 1;
      imports.push({ specifier: specifier.text, line, static: declaration && !isErased(node) });
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return imports;
}
